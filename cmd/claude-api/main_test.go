package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/chaostest"
	"claude-code-api-service/internal/postgres/pgtest"
)

// TestMain makes the test binary claude-api itself when it is started under
// that name, so that the tests drive the real program as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{pgtest.Main(m)}, map[string]func(){program: main, fakeCLI: chaostest.RunCLI})
}

const program = "claude-api"

// fakeCLI is the name under which the test binary is a CLI that misbehaves.
const fakeCLI = "claude-chaos"

// leakChecked looks for goroutines that the tests left behind.
type leakChecked struct{ testscript.TestingM }

func (m leakChecked) Run() int {
	code := m.TestingM.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
