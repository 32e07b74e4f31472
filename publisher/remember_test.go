package publisher_test

import (
	"strings"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// What is remembered is bounded, and not kept for connections.
func TestMemory(t *testing.T) {
	works := addressOf(testutil.Serve(t, says(204, "", "")))
	c := newClient(t, publisher.Options{Allow: nil, Hosts: []string{"127.0.0.1"}})
	for i, id := range []string{id, id2, sealedID} {
		if err := push(t, c, strings.ReplaceAll(works+","+works, "/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "/@connections/"+id)); err != nil {
			t.Error(i, err)
		}
	}
	if n := c.Remembered(); n != 1 {
		t.Errorf("it remembers %d", n)
	}
}
