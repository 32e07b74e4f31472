package membership_test

import (
	"testing"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }
