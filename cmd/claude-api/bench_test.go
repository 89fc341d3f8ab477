package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"claude-code-api-service/internal/benchmark"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// TestBench runs claude-api bench with the real CLI, as a person does. No figure is
// judged.
func TestBench(t *testing.T) {
	cli, up := clitest.Path(t, install.Version), newUpstream(t)
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "bench"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = []string{
				"WORK=" + env.WorkDir, "HOME=" + filepath.Join(env.WorkDir, "home"), "TMPDIR=" + t.TempDir(), "TZ=UTC", noRaceSleep,
				"PATH=" + filepath.Dir(path) + string(filepath.ListSeparator) + "/usr/bin:/bin", // bash, for the former way
				"CLI=" + cli, "UPSTREAM=" + up.url,
			}
			return nil
		},
	})
}

// TestSourcesForPrograms prints sources of latency as CSV.
func TestSourcesForPrograms(t *testing.T) {
	var out strings.Builder
	sources := []benchmark.Source{{
		Name: "a", Former: "1–2 ms", Before: benchmark.Figures{P10: 1, P50: 2.5, P90: 3, Count: 4}, After: benchmark.Figures{P10: 0.1, P50: 0.5, P90: 0.9, Count: 5},
		How: "so", Simulated: true,
	}}
	if err := printList(&out, formCSV, sourceColumns, sources); err != nil {
		t.Fatal(err)
	}
	want := "source,published,before_ms,before_p10_ms,before_p90_ms,before_count,after_ms,after_p10_ms,after_p90_ms,after_count,saved_ms,simulated,how\n" +
		"a,1–2 ms,2.5,1,3,4,0.5,0.1,0.9,5,2,true,so\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
}
