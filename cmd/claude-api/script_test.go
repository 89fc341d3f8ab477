package main

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the command line as a person does. A script's PATH holds
// claude-api and nothing else, so that no CLI of this machine is found.
func TestScripts(t *testing.T) {
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = []string{
				"WORK=" + env.WorkDir, "PATH=" + filepath.Dir(path),
				"HOME=" + filepath.Join(env.WorkDir, "home"), "TMPDIR=" + filepath.Join(env.WorkDir, ".tmp"), "TZ=UTC", noRaceSleep,
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"keep": keep, "seed": seed,
		},
	})
}

// keep NAME N puts the Nth word (from 1) of the last command's output into a
// variable, without the … of what is shortened.
func keep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keep NAME N")
	}
	words := strings.Fields(ts.ReadFile("stdout"))
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 || n > len(words) {
		ts.Fatalf("the output has %d words", len(words))
	}
	ts.Setenv(args[0], strings.TrimSuffix(words[n-1], "…"))
}
