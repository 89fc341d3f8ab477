package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/confine"
)

// spy is a CLI that tries to reach what isn't its own, and says what it could.
const spy = `#!/bin/sh
try() {
	if sh -c "$2" >/dev/null 2>&1; then echo "could $1." >&2; else echo "could not $1." >&2; fi
}
try 'read the database' 'cat %[1]s/claude-api.db'
try 'list the data folder' 'ls %[1]s'
try 'write into the data folder' 'echo x >%[1]s/written'
try 'read the home of the service' 'cat %[2]s/.netrc'
try 'list the folders of other workers' 'ls "$TMPDIR/../.."'
try 'write beside its folder' 'echo x >"$TMPDIR/../../written"'
try 'read the environment of the service' "cat /proc/$PPID/environ"
try 'read the memory of the service' "head -c 0 /proc/$PPID/mem"
try 'signal the service' "kill -0 $PPID"
try 'run what it has written' 'cp /bin/true "$TMPDIR/program" && "$TMPDIR/program"'
try 'write in its own folder' 'echo x >"$HOME/x" && cat "$HOME/x" && echo x >"$TMPDIR/x"'
echo 'that is all.' >&2
exit 1
`

// TestAWorkerCannotReachTheService runs a CLI that was taken over.
func TestAWorkerCannotReachTheService(t *testing.T) {
	landlock, what := (confine.Confinement{}).Holds()
	if !landlock {
		t.Skipf("SKIPPED: %s", what)
	}
	refused := []string{
		"read the database", "list the data folder", "write into the data folder", "read the home of the service",
		"list the folders of other workers", "write beside its folder",
		"read the environment of the service", "read the memory of the service", "run what it has written",
	}
	if strings.Contains(what, "signals") {
		refused = append(refused, "signal the service")
	}
	for _, mode := range []string{"require", "off"} {
		t.Run(mode, func(t *testing.T) {
			data, home := t.TempDir(), t.TempDir()
			if err := os.WriteFile(filepath.Join(home, ".netrc"), []byte("password"), 0o600); err != nil {
				t.Fatal(err)
			}
			cli := filepath.Join(t.TempDir(), "claude")
			if err := os.WriteFile(cli, fmt.Appendf(nil, spy, data, home), 0o700); err != nil {
				t.Fatal(err)
			}
			s := serveOn(t, data, newUpstream(t).url, cli, "--confine="+mode, "HOME="+home)
			s.expect(t, &s.stderr, `that is all\.`)
			said, health := s.stderr.String(), s.get(t, "/health").body
			for _, try := range refused {
				could, couldNot := strings.Contains(said, "could "+try+"."), strings.Contains(said, "could not "+try+".")
				if wanted := mode == "off"; could != wanted || couldNot == wanted {
					t.Errorf("could %s: %t, could not: %t", try, could, couldNot)
				}
			}
			if !strings.Contains(said, "could write in its own folder.") {
				t.Errorf("it couldn't write in its own folder:\n%s", said)
			}
			want := `"confinement":{"status":"ok","detail":"Landlock ABI `
			if mode == "off" {
				want = `"confinement":{"status":"off","detail":"switched off`
			}
			if compact := strings.NewReplacer(" ", "", "\n", "").Replace(health); !strings.Contains(compact, strings.ReplaceAll(want, " ", "")) {
				t.Errorf("no %s in %s", want, health)
			}
		})
	}
}
