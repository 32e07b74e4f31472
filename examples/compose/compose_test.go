package compose

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

const root = "../.." // of the repository

var workers = []string{"worker1", "worker2", "worker3"}

// load loads compose.yaml, as Docker's own plugin does, with an .env that README.md's command has made.
func load(t *testing.T) *types.Project {
	t.Helper()
	env := filepath.Join(t.TempDir(), ".env")
	command := regexp.MustCompile(`(?m)^for .* > examples/compose/\.env$`).FindString(read(t, "README.md"))
	cmd := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(command, "examples/compose/.env", env))
	if out, err := cmd.CombinedOutput(); err != nil || command == "" {
		t.Fatalf("%q: %v\n%s", command, err, out)
	}
	project, err := loadWith(t.Context(), cli.WithEnvFiles(env), cli.WithDotEnv)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func loadWith(ctx context.Context, options ...cli.ProjectOptionsFn) (*types.Project, error) {
	opts, err := cli.NewProjectOptions([]string{"compose.yaml"}, options...)
	if err != nil {
		return nil, err
	}
	return opts.LoadProject(ctx)
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Nothing starts without secrets, and those that it starts with are its own.
func TestSecrets(t *testing.T) {
	all := []string{"CLUSTER_KEY=a", "PUSH_TOKEN=b", "GRAFANA_PASSWORD=c"}
	if _, err := loadWith(t.Context(), cli.WithEnv(all)); err != nil {
		t.Fatal(err)
	}
	for i, missing := range all {
		name, _, _ := strings.Cut(missing, "=")
		_, err := loadWith(t.Context(), cli.WithEnv(slices.Delete(slices.Clone(all), i, i+1)))
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "README.md says how") {
			t.Errorf("without %s: %v", name, err)
		}
	}
	one, other := load(t).Services["worker1"].Environment, load(t).Services["worker1"].Environment
	for _, name := range []string{"CLUSTER_KEY", "PUSH_TOKEN"} {
		if secret := *one[name]; len(secret) != 64 || secret == *other[name] {
			t.Errorf("%s is %q, and then %q", name, secret, *other[name])
		}
	}
}

// What can be got wrong without a machine that complains.
func TestServices(t *testing.T) {
	project := load(t)
	pinned := regexp.MustCompile(`:v?\d+\.\d+\.\d+(-alpine)?$`)
	for name, service := range project.Services {
		if service.Build == nil && !pinned.MatchString(service.Image) {
			t.Errorf("%s: the version of %s is not pinned", name, service.Image)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to others", name, port.Published)
			}
		}
		for _, v := range service.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			// Docker makes a folder of a file that is not there.
			if info, err := os.Stat(v.Source); err != nil || info.IsDir() || !v.ReadOnly {
				t.Errorf("%s: %s: %v, or it is a folder, or not read-only", name, v.Source, err)
			}
		}
	}

	ipam := project.Networks["fleet"].Ipam.Config[0]
	subnet, others := netip.MustParsePrefix(ipam.Subnet), netip.MustParsePrefix(ipam.IPRange)
	var first types.ServiceConfig
	for i, name := range workers {
		worker := project.Services[name]
		address, err := netip.ParseAddr(worker.Networks["fleet"].Ipv4Address)
		if err != nil || !subnet.Contains(address) || others.Contains(address) {
			t.Errorf("%s has the address %v, within %v but not %v: %v", name, address, subnet, others, err)
		}
		if got := project.Services["nginx"].ExtraHosts[name]; !slices.Equal(got, []string{address.String()}) {
			t.Errorf("to nginx, %s is at %v", name, got)
		}
		grace := regexp.MustCompile(`-grace=(\S+)`).FindStringSubmatch(strings.Join(worker.Command, " "))
		within, err := time.ParseDuration(grace[1])
		if err != nil || time.Duration(*worker.StopGracePeriod) < within+3*time.Second {
			t.Errorf("%s: stop_grace_period is %v for -grace=%v (%v)", name, worker.StopGracePeriod, within, err)
		}
		// Otherwise they are the same.
		for j, argument := range worker.Command {
			worker.Command[j] = strings.ReplaceAll(argument, name, "worker")
		}
		worker.Name, worker.Networks = "", nil
		if i == 0 {
			first = worker
		} else if one, other := toYAML(t, first), toYAML(t, worker); one != other {
			t.Errorf("%s is different:\n%s\n%s", name, one, other)
		}
	}
	if !first.ReadOnly || first.Build.Context != abs(t, root) {
		t.Errorf("%+v", first)
	}
}

func toYAML(t *testing.T, v any) string {
	t.Helper()
	out, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func abs(t *testing.T, name string) string {
	t.Helper()
	absolute, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}

// The locations are those of examples/users/nginx.conf, but for the comments.
func TestLocations(t *testing.T) {
	locations := func(file string) string {
		_, after, ok := strings.Cut(read(t, file), "location / {")
		if !ok {
			t.Fatalf("%s has no locations", file)
		}
		return strings.Join(strings.Fields(regexp.MustCompile(`(?m)#.*$`).ReplaceAllString(after, "")), " ")
	}
	if got, want := locations("nginx.conf"), locations("../users/nginx.conf"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// Grafana finds Prometheus, and the dashboard of this repository.
func TestGrafana(t *testing.T) {
	project := load(t)
	mounts := make(map[string]string)
	for _, v := range project.Services["grafana"].Volumes {
		mounts[v.Target] = v.Source
	}
	parse := func(target string, into any) {
		t.Helper()
		decoder := yaml.NewDecoder(strings.NewReader(read(t, mounts["/etc/grafana/provisioning/"+target])))
		decoder.KnownFields(true)
		if err := decoder.Decode(into); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
	// All that there is of these in Grafana's documentation, and used here.
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, Type, URL string
			IsDefault       bool `yaml:"isDefault"`
			JSONData        struct {
				TimeInterval string `yaml:"timeInterval"`
			} `yaml:"jsonData"`
		}
	}
	parse("datasources/wspush.yaml", &sources)
	var scraping struct {
		Global struct {
			Interval string `yaml:"scrape_interval"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "prometheus.yml")), &scraping); err != nil {
		t.Error(err)
	}
	port := project.Services["prometheus"].Ports[0].Target
	if s := sources.Datasources; sources.APIVersion != 1 || len(s) != 1 || s[0].Type != "prometheus" || !s[0].IsDefault || port != 9090 ||
		s[0].URL != "http://prometheus:9090" || s[0].JSONData.TimeInterval != scraping.Global.Interval {
		t.Errorf("%+v", sources)
	}
	var dashboards struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Type string
			Options    struct{ Path string }
		}
	}
	parse("dashboards/wspush.yaml", &dashboards)
	p := dashboards.Providers
	if dashboards.APIVersion != 1 || len(p) != 1 || p[0].Type != "file" {
		t.Fatalf("%+v", dashboards)
	}
	if got, want := mounts[path.Join(p[0].Options.Path, "wspush.json")], abs(t, root+"/prometheus/dashboard.json"); got != want {
		t.Errorf("the dashboard is %s, want %s", got, want)
	}
}
