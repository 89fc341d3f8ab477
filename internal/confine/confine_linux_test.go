package confine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// triesVariable makes the test binary try things, one a line, instead of testing.
const triesVariable = "CONFINE_TEST_TRIES"

func TestMain(m *testing.M) {
	if tries := os.Getenv(triesVariable); tries != "" {
		for _, line := range strings.Split(tries, "\n") {
			what, on, _ := strings.Cut(line, " ")
			fmt.Println(outcome(try(what, on)))
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	done    = "done"
	refused = "refused"
)

func outcome(err error) string {
	switch {
	case err == nil:
		return done
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EXDEV): // EACCES, EPERM; EXDEV between folders with other rights
		return refused
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

func try(what, on string) error {
	beside := filepath.Join(filepath.Dir(on), "made")
	switch what {
	case "read":
		_, err := os.ReadFile(on)
		return err
	case "open":
		f, err := os.Open(on)
		if err == nil {
			_ = f.Close()
		}
		return err
	case "list":
		_, err := os.ReadDir(on)
		return err
	case "write":
		return os.WriteFile(on, []byte("x"), 0o600)
	case "empty":
		return os.Truncate(on, 0)
	case "remove":
		return os.Remove(on)
	case "link": // and read by the link
		from, to, _ := strings.Cut(on, " ")
		_ = os.Remove(to)
		if err := os.Symlink(from, to); err != nil {
			return err
		}
		_, err := os.ReadFile(to)
		return err
	case "hard-link":
		from, to, _ := strings.Cut(on, " ")
		return os.Link(from, to)
	case "run":
		cmd := exec.Command(on)
		cmd.Env = []string{triesVariable + "=nothing"}
		return cmd.Run()
	case "device":
		return unix.Mknod(beside, unix.S_IFCHR|0o600, 1<<8|3)
	case "signal":
		pid, _ := strconv.Atoi(on)
		return syscall.Kill(pid, 0)
	case "nothing":
		return nil
	}
	return errors.New("unknown: " + what)
}

// runTries runs the tries in a process of their own.
func runTries(t *testing.T, prepare func(*exec.Cmd), tries ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{triesVariable + "=" + strings.Join(tries, "\n")}
	var output, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &complaint
	prepare(cmd)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, complaint.String())
	}
	var lines []string
	for s := bufio.NewScanner(&output); s.Scan(); {
		lines = append(lines, s.Text())
	}
	if len(lines) != len(tries) {
		t.Fatalf("%d outcomes of %d tries: %q", len(lines), len(tries), lines)
	}
	return lines
}

func confined(t *testing.T, kernel func() (landlock, error), rules Rules) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		program := cmd.Path
		done, err := applyOn(kernel, cmd, func() (Rules, error) {
			all, err := Program(program)
			all.Add(Machine())
			all.Add(rules)
			return all, err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(done)
	}
}

func always(rules Rules) func() (Rules, error) { return func() (Rules, error) { return rules, nil } }

func needLandlock(t *testing.T) landlock {
	t.Helper()
	l, err := kernel()
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	return l
}

// TestAConfinedProgramIsRefused tries each thing twice: it works unless it is
// confined.
func TestAConfinedProgramIsRefused(t *testing.T) {
	l := needLandlock(t)
	outside, own := t.TempDir(), t.TempDir()
	database, written, emptied, removed := filepath.Join(outside, "claude-api.db"), filepath.Join(outside, "written"), filepath.Join(outside, "emptied"), filepath.Join(outside, "removed")
	for _, path := range []string{database, emptied, removed} {
		if err := os.WriteFile(path, []byte("keys"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copied := filepath.Join(own, "copied")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, self, 0o700); err != nil {
		t.Fatal(err)
	}
	parent := strconv.Itoa(os.Getpid())
	tests := []struct {
		try string
		abi int // from which on it is refused
	}{
		{"read " + database, 1},
		{"list " + outside, 1},
		{"link " + database + " " + filepath.Join(own, "link"), 1},
		{"hard-link " + database + " " + filepath.Join(own, "hard-link"), 1},
		{"write " + database, 1},
		{"write " + written, 1},
		{"empty " + emptied, 3},
		{"remove " + removed, 1},
		{"run " + copied, 1},
		{"run /bin/true", 1},
		{"read /proc/" + parent + "/environ", 1},
		{"open /proc/" + parent + "/mem", 1},
		{"list /proc/" + parent + "/root/", 1},
		{"signal " + parent, 6},
	}
	if os.Getuid() == 0 {
		tests = append(tests, struct {
			try string
			abi int
		}{"device " + own + "/x", 1})
	}
	tries := make([]string, len(tests))
	for i, test := range tests {
		tries[i] = test.try
	}
	// In this order: what the free one does, the confined one would find done.
	got := runTries(t, confined(t, kernel, Rules{Write: []string{own}}), tries...)
	for i, test := range tests {
		if l.abi >= test.abi && got[i] != refused {
			t.Errorf("confined, %q is %s", test.try, got[i])
		}
	}
	_ = os.Remove(filepath.Join(own, "made"))
	for i, free := range runTries(t, func(*exec.Cmd) {}, tries...) {
		if free != done {
			t.Errorf("without confinement, %q is %s: the test shows nothing", tries[i], free)
		}
	}
}

// TestAHeldPath isn't followed where it has become a link, or one of its folders has.
func TestAHeldPath(t *testing.T) {
	l := needLandlock(t)
	top := t.TempDir()
	folder := filepath.Join(top, "folder", "inner")
	err := errors.Join(os.MkdirAll(folder, 0o700), os.Symlink(filepath.Join(top, "folder"), filepath.Join(top, "by")), os.Symlink(folder, filepath.Join(top, "link")))
	if err != nil {
		t.Fatal(err)
	}
	for path, held := range map[string]bool{folder: true, filepath.Join(top, "link"): false, filepath.Join(top, "by", "inner"): false} {
		set, err := l.ruleset(Rules{Write: []string{path}, Held: []string{path}})
		if (err == nil) != held || err != nil && !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", path, err)
		}
		if set != nil {
			_ = set.Close()
		}
	}
}

func TestAConfinedProgramMay(t *testing.T) {
	needLandlock(t)
	own, read := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(read, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tries := []string{
		"write " + filepath.Join(own, "file"), "read " + filepath.Join(own, "file"), "list " + own, "remove " + filepath.Join(own, "file"),
		"read " + filepath.Join(read, "file"), "list " + read,
		"read /proc/self/environ", "read /proc/self/maps", "read /etc/hosts", "write /dev/null", "open /dev/urandom",
		"run " + self,
	}
	rules := Rules{Read: []string{read, "/does/not/exist", "/etc/hosts/below-a-file"}, Write: []string{own}}
	for i, got := range runTries(t, confined(t, kernel, rules), tries...) {
		if got != done {
			t.Errorf("%q is %s", tries[i], got)
		}
	}
}

// TestLimits reads them where the kernel tells them, with Landlock and without.
func TestLimits(t *testing.T) {
	without := func() (landlock, error) { return landlock{}, errors.New("none") }
	for name, kernel := range map[string]func() (landlock, error){"as the kernel has it": kernel, "no Landlock": without} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/bin/cat", "/proc/self/limits", "/proc/self/status")
			rules := Rules{Run: everyProgram}
			rules.Add(Machine())
			done, err := applyOn(kernel, cmd, always(rules))
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			output, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(strings.Fields(string(output)), " ")
			for _, want := range []string{"Max core file size 0 0 ", "Max open files 1024 1024 ", "Max file size 1073741824 1073741824 ", "NoNewPrivs: 1", "CapInh: 0000000000000000 CapPrm: 00000000000000", "CapEff: 00000000000000"} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %s", want, text)
				}
			}
		})
	}
}

// TestAProgramThatCannotStart says so, with the exit code of the helper.
func TestAProgramThatCannotStart(t *testing.T) {
	needLandlock(t)
	cmd := exec.Command("/bin/true")
	done, err := apply(cmd, always(Rules{}))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	_, err = cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != failed || !strings.Contains(string(exit.Stderr), "confine: start /bin/true: permission denied") {
		t.Errorf("err = %v, %s", err, exit.Stderr)
	}
}

// TestNoProgram is told before anything is started, with Landlock and without.
func TestNoProgram(t *testing.T) {
	without := func() (landlock, error) { return landlock{}, errors.New("none") }
	for _, kernel := range []func() (landlock, error){kernel, without} {
		if _, err := applyOn(kernel, exec.Command("/nonexistent/claude"), always(Rules{})); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("err = %v", err)
		}
	}
}

// TestSwitchedOff starts the program as it is.
func TestSwitchedOff(t *testing.T) {
	c, err := New(Off)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/true")
	done, err := c.Apply(cmd, func() (Rules, error) { return Rules{}, errors.New("asked for rules") })
	if err != nil || cmd.Path != "/bin/true" || len(cmd.Args) != 1 {
		t.Errorf("cmd = %v, %v", cmd, err)
	}
	done()
	if held, what := c.Holds(); held || !strings.Contains(what, "switched off") {
		t.Errorf("holds: %t, %s", held, what)
	}
}
