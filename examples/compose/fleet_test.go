//go:build linux

package compose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/wspush/wspush/internal/testutil"
)

// fleet is what compose.yaml describes, in processes of this machine. Each service has a loopback address of its own, so that all have the
// ports that they have in containers.
type fleet struct {
	t       *testing.T
	project *types.Project
	image   *image
	prefix  string // of the addresses
	http    http.Client
	running map[string]*process
}

type process struct {
	cmd    *exec.Cmd
	output *bytes.Buffer // to be read when it has ended
	ended  chan struct{}
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	project := load(t)
	f := &fleet{
		t: t, project: project, image: build(t, project.Services["worker1"].Build),
		prefix:  fmt.Sprintf("127.%d.%d.", 1+rand.IntN(250), rand.IntN(250)),
		running: make(map[string]*process),
	}
	f.http.Transport = &http.Transport{DisableKeepAlives: true}
	return f
}

// address is where a service is.
func (f *fleet) address(service string) string {
	return f.prefix + fmt.Sprint(10+slices.Index(f.project.ServiceNames(), service))
}

// here replaces the names of services by their addresses, also in addresses that are all of a container's own.
func (f *fleet) here(service, text string) string {
	text = regexp.MustCompile(`(=|127\.0\.0\.1)(:\d)`).ReplaceAllStringFunc(text, func(all string) string {
		before, port, _ := strings.Cut(all, ":")
		return strings.TrimSuffix(before, "127.0.0.1") + f.address(service) + ":" + port
	})
	for _, name := range f.project.ServiceNames() {
		text = regexp.MustCompile(`\b`+name+`(:\d)`).ReplaceAllString(text, f.address(name)+"$1")
	}
	return text
}

// start starts a process, and has the test end it. It is no error if it ends before that.
func (f *fleet) start(name string, cmd *exec.Cmd) {
	f.t.Helper()
	p := &process{cmd: cmd, output: new(bytes.Buffer), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait()
	}()
	f.running[name] = p
	f.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-p.ended
		}
		if f.t.Failed() {
			f.t.Logf("%s said:\n%s", name, p.output)
		}
	})
}

// startWorker starts one as compose.yaml says, and waits until its health check succeeds.
func (f *fleet) startWorker(name string) {
	f.t.Helper()
	service := f.project.Services[name]
	var environment []string
	for variable, value := range service.Environment {
		environment = append(environment, variable+"="+*value)
	}
	args := slices.Clone([]string(service.Command))
	for i := range args {
		args[i] = f.here(name, args[i])
	}
	f.start(name, f.image.command(environment, args...))
	check := slices.Clone([]string(service.HealthCheck.Test))
	if check[0] != "CMD" || check[1] != f.image.entrypoint {
		f.t.Fatalf("the health check needs more than the image has: %q", check)
	}
	for i := range check {
		check[i] = f.here(name, check[i])
	}
	testutil.Eventually(f.t, name+" is healthy", func() bool {
		return f.image.command(nil, check[2:]...).Run() == nil
	})
}

// stop stops one as Docker does, and returns once it has ended.
func (f *fleet) stop(name string, meanwhile func()) {
	f.t.Helper()
	p := f.running[name]
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		f.t.Fatal(err)
	}
	late := time.AfterFunc(time.Duration(*f.project.Services[name].StopGracePeriod), func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	meanwhile()
	<-p.ended
	if status := p.cmd.ProcessState.ExitCode(); status != 0 {
		f.t.Errorf("%s has ended with %v", name, p.cmd.ProcessState)
	}
}

// program finds one, where Debian has it.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, at := range []string{name, "/usr/sbin/" + name} {
			if found, err := exec.LookPath(at); err == nil {
				return found
			}
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing", names)
	}
	t.Skipf("%s is missing", names)
	return ""
}

// files lays out what is mounted into a service's container, in a folder, with the paths in the container.
func (f *fleet) files(service string) (dir string) {
	f.t.Helper()
	dir, err := os.MkdirTemp("", "wspush-compose-") // not t.TempDir, which nginx' worker processes could not enter
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		f.t.Fatal(err)
	}
	for _, v := range f.project.Services[service].Volumes {
		if v.Type != types.VolumeTypeBind {
			continue
		}
		at := filepath.Join(dir, v.Target)
		if err := os.MkdirAll(filepath.Dir(at), 0o711); err != nil {
			f.t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(f.here(service, read(f.t, v.Source))), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	return dir
}

// startNginx starts it with nginx.conf.
func (f *fleet) startNginx() {
	f.t.Helper()
	nginx, dir := program(f.t, "nginx"), f.files("nginx")
	config := filepath.Join(dir, "etc/nginx/nginx.conf")
	text := read(f.t, config)
	listen := fmt.Sprint("listen ", f.project.Services["nginx"].Ports[0].Target, ";")
	if strings.Count(text, listen) != 1 {
		f.t.Fatalf("nginx does not %s", listen)
	}
	text = strings.ReplaceAll(text, "listen ", "listen "+f.address("nginx")+":")
	text = strings.ReplaceAll(text, " /tmp/", " "+dir+"/")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
	args := []string{"-p", dir, "-c", config, "-e", "stderr", "-g", "daemon off;"} // the last as the image has it
	if out, err := exec.Command(nginx, append(args, "-t")...).CombinedOutput(); err != nil || strings.Contains(string(out), "[warn]") {
		f.t.Errorf("nginx -t: %v\n%s", err, out)
	}
	f.start("nginx", exec.Command(nginx, args...))
	testutil.Eventually(f.t, "nginx answers", func() bool {
		_, err := f.ask(f.page())
		return err == nil
	})
}

// startPrometheus starts it with prometheus.yml.
func (f *fleet) startPrometheus() {
	f.t.Helper()
	prometheus, promtool, dir := program(f.t, "prometheus"), program(f.t, "promtool"), f.files("prometheus")
	config := filepath.Join(dir, "etc/prometheus/prometheus.yml")
	if out, err := exec.Command(promtool, "check", "config", config).CombinedOutput(); err != nil {
		f.t.Errorf("promtool check config: %v\n%s", err, out)
	}
	text := strings.ReplaceAll(read(f.t, config), "_interval: 15s", "_interval: 1s") // the test is in a hurry
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
	f.start("prometheus", exec.Command(prometheus, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "prometheus"),
		"--web.listen-address="+f.address("prometheus")+":9090", "--log.level=warn"))
}

// scraped waits until that is what Prometheus has found.
func (f *fleet) scraped(expression string, want int) {
	f.t.Helper()
	at := "http://" + f.address("prometheus") + ":9090/api/v1/query?query=" + url.QueryEscape(expression)
	testutil.Eventually(f.t, fmt.Sprint(expression, " is ", want), func() bool {
		var answer struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		body, err := f.ask(at) // it may not have started yet
		return err == nil && json.Unmarshal([]byte(body), &answer) == nil && len(answer.Data.Result) == 1 && answer.Data.Result[0].Value[1] == fmt.Sprint(want)
	})
}

// page is what people open.
func (f *fleet) page() string { return "http://" + f.address("nginx") + ":8080" }

func (f *fleet) get(url string) string {
	f.t.Helper()
	body, err := f.ask(url)
	if err != nil {
		f.t.Fatalf("%s: %v", url, err)
	}
	return body
}

func (f *fleet) ask(url string) (body string, err error) {
	resp, err := f.http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	all, err := io.ReadAll(resp.Body)
	return string(all), err
}

// connections asks a worker, as Prometheus does.
func (f *fleet) connections(name string) (n int) {
	f.t.Helper()
	metrics := f.get("http://" + f.address(name) + ":9100/metrics")
	_, after, _ := strings.Cut(metrics, "\nwspush_connections ")
	if _, err := fmt.Sscan(after, &n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// push pushes to ann through nginx, again while a worker is leaving, and wants this many to be reached, here or away.
func (f *fleet) push(message string, want int) {
	f.t.Helper()
	var status int
	var answer []byte
	defer func() {
		if f.t.Failed() {
			f.t.Logf("%s: %d %s", message, status, answer)
		}
	}()
	testutil.Eventually(f.t, "a push of "+message, func() bool {
		r, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.page()+"/ws/@users/ann", strings.NewReader(message))
		if err != nil {
			f.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+*f.project.Services["worker1"].Environment["PUSH_TOKEN"])
		r.Header.Set("Content-Type", "text/plain; charset=utf-8")
		resp, err := f.http.Do(r)
		if err != nil {
			f.t.Fatal(err)
		}
		defer resp.Body.Close()
		status = resp.StatusCode
		if answer, err = io.ReadAll(resp.Body); err != nil {
			f.t.Fatal(err)
		}
		if status == http.StatusServiceUnavailable {
			return false // nothing has been written
		}
		var outcomes struct{ Written, Buffered int }
		if err := json.Unmarshal(answer, &outcomes); err != nil || status != http.StatusOK || outcomes.Written+outcomes.Buffered != want {
			f.t.Errorf("want %d", want)
		}
		return true
	})
}

// tab is one of ann's, and where it is.
type tab struct {
	*testutil.Page
	worker string
}

// open opens a tab through nginx, or brings it back while a worker is stopping.
func (f *fleet) open(ticket, stopping string) tab {
	f.t.Helper()
	before := make(map[string]int)
	for _, name := range workers {
		if name != stopping {
			before[name] = f.connections(name)
		}
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.page(), "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	header := http.Header{"Origin": {f.page()}} // as a browser says, and nginx must leave the Host that goes with it
	at := tab{Page: testutil.Visit(f.t, conn, testutil.Options{Path: "/ws?as=ann", Header: header}, ticket)}
	testutil.Eventually(f.t, "the tab's worker", func() bool {
		for name, n := range before {
			if f.connections(name) > n {
				at.worker = name
			}
		}
		return at.worker != ""
	})
	return at
}

// Everything but Grafana runs, with the commands, files and secrets of compose.yaml: a message that is pushed through nginx arrives, and
// each worker is replaced in turn, as README.md says, without loss.
func TestFleet(t *testing.T) {
	f := newFleet(t)
	redis := f.project.Services["redis"].Command
	f.start("redis", exec.Command(program(t, redis[0]), append(redis[1:], "--bind", f.address("redis"), "--dir", t.TempDir())...))
	f.startPrometheus()
	for _, name := range workers {
		f.startWorker(name)
	}
	f.startNginx()

	var tabs []tab
	for range 3 * len(workers) {
		tabs = append(tabs, f.open("", ""))
		tabs[len(tabs)-1].Next() // the greeting
	}
	for _, name := range workers {
		if n := f.connections(name); n != 3 {
			t.Errorf("nginx has brought %d of 9 tabs to %s", n, name)
		}
	}
	f.push("hello", len(tabs))
	for _, tab := range tabs {
		tab.Want("hello")
	}

	var pushed []string
	push := func(message string) {
		f.push(message, len(tabs))
		pushed = append(pushed, message)
	}
	for _, name := range workers {
		f.stop(name, func() {
			for i, leaving := range tabs {
				if leaving.worker != name {
					continue
				}
				if code, _ := leaving.End(); code != 1012 {
					t.Errorf("%s has closed a tab with %d", name, code)
				}
				push(fmt.Sprint("while tab ", i, " is away"))
				tabs[i] = f.open(leaving.Ticket(), name)
				if hello := tabs[i].Hello; !hello.Resumed || hello.Missed > 0 {
					t.Fatalf("tab %d, of %s, at %s: %s", i, name, tabs[i].worker, hello.Raw)
				}
			}
		})
		f.startWorker(name)
		push(name + " is back")
	}
	f.scraped("sum(up)", len(workers))
	f.scraped("sum(wspush_connections)", len(tabs))
	if rules := f.get("http://" + f.address("prometheus") + ":9090/api/v1/rules?type=alert"); !strings.Contains(rules, "WspushPushListenerFailed") {
		t.Errorf("Prometheus knows no alerts: %s", rules)
	}
	for _, tab := range tabs {
		tab.Want(pushed...)
		tab.WantNothing()
		tab.SendClose(1000, "") // so that the workers have no sessions to wait for
	}
}
