package publisher_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/wspush/wspush/publisher"
)

func TestWorkersOption(t *testing.T) {
	many := make([]string, 17)
	for i := range many {
		many[i] = "http://a"
	}
	for name, workers := range map[string][]string{
		"empty": {""}, "no scheme": {"10.0.0.5:48775"}, "another scheme": {"ws://a"}, "user": {"http://user:secret@a"}, "ID": {"http://" + id + "@a/ws"},
		"query": {"http://a/?x"}, "fragment": {"http://a/#x"}, "no host": {"http:///ws"}, "number": {"http://127.1"}, "port": {"http://a:0"}, "dots": {"http://a/../b"},
		"marker": {"http://a/@connections"}, "an address": {"http://a/ws/@connections/" + id}, "users": {"http://a/x/@users/42"}, "groups": {"http://a/%40groups"}, "escape": {"http://a/%zz"},
		"comma": {"http://a,http://b"}, "long": {"http://a/" + strings.Repeat("x", 4096)}, "many": many, "second": {"http://a", "b"}, "space": {" http://a"},
	} {
		c, err := publisher.New(&publisher.Options{Workers: workers})
		if inError(t, err) == nil {
			t.Errorf("%s: no error", name)
			c.Close()
		} else if !strings.Contains(err.Error(), "Workers") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, url := range []string{"http://a", "HTTPS://A:443/", "http://[::1]:1/x//", "http://10.0.0.5:48775/a%20b/ws"} {
		c, err := publisher.New(&publisher.Options{Workers: []string{url}, Credential: "x"})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		// That it is asked does not allow an address there.
		if err := outcome(c.Push(t.Context(), "http://a/ws/@connections/"+id, publisher.Text, nil)); !errors.Is(err, publisher.ErrAddress) {
			t.Errorf("%s: %v", url, err)
		}
		c.Close()
	}
}
