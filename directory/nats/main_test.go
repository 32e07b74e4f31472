package wspushnats_test

import (
	"os"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) {
	if port := os.Getenv(serverPort); port != "" {
		serve(port)
		return
	}
	testutil.Main(m)
}
