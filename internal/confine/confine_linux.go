package confine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// The helper's arguments: its name, command, what it takes away, "--", the program and its arguments.
const (
	command      = "confine"
	withLandlock = "landlock" // the ruleset is descriptor rulesetFD
	withLimits   = "limits"

	// rulesetFD is the first of exec.Cmd's ExtraFiles.
	rulesetFD = 3
	// failed is the helper's exit code where it can't become the program.
	failed = 126
)

// self is this program, also when its file was replaced by a newer version:
// whoever starts it sees itself there.
const self = "/proc/self/exe"

func landlocked() error {
	_, err := kernel()
	return err
}

func holds() (bool, string) { return holdsOn(kernel) }

func holdsOn(kernel func() (landlock, error)) (bool, string) {
	const always = "resource limits, no new privileges, a process group"
	l, err := kernel()
	if err != nil {
		return false, err.Error() + "; " + always
	}
	return true, l.String() + "; " + always
}

func apply(cmd *exec.Cmd, rules func() (Rules, error)) (func(), error) {
	return applyOn(kernel, cmd, rules)
}

func applyOn(kernel func() (landlock, error), cmd *exec.Cmd, rules func() (Rules, error)) (func(), error) {
	if len(cmd.ExtraFiles) > 0 {
		return nil, errors.New("a confined program inherits no files")
	}
	// Otherwise it would be the helper that finds no program.
	if _, err := exec.LookPath(cmd.Path); err != nil {
		return nil, err
	}
	what, done := withLimits, func() {}
	if l, err := kernel(); err == nil {
		allowed, err := rules()
		if err != nil {
			return nil, err
		}
		ruleset, err := l.ruleset(allowed)
		if err != nil {
			return nil, err
		}
		what, cmd.ExtraFiles = withLandlock, []*os.File{ruleset}
		done = func() { _ = ruleset.Close() } // the child has its own
	}
	cmd.Args = append([]string{cmd.Args[0], command, what, "--", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = self
	return done, nil
}

// init is the helper's whole life. It runs in every program that imports this
// package, also in tests, before most others are set up, on the process's first
// thread: the parent-death signal that the child was started with belongs to that.
func init() {
	if len(os.Args) < 5 || os.Args[1] != command || os.Args[3] != "--" {
		return
	}
	err := become(os.Args[2] == withLandlock, os.Args[4], append([]string{os.Args[4]}, os.Args[5:]...))
	fmt.Fprintln(os.Stderr, "confine:", err)
	os.Exit(failed)
}

// become takes rights away from the process and has it run the program. It only
// returns if that fails.
func become(landlock bool, path string, args []string) error {
	runtime.LockOSThread()
	for resource, limit := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: OpenFiles, unix.RLIMIT_FSIZE: FileBytes} {
		if err := lower(resource, limit); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	// What it starts stays below it, also when what has started that is gone.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep what it starts: %w", err)
	}
	if landlock {
		if err := restrict(rulesetFD); err != nil {
			return err
		}
		unix.CloseOnExec(rulesetFD)
	}
	if err := syscall.Exec(path, args, os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	return nil
}

// lower makes a limit and what it may be raised to no higher than it is.
func lower(resource int, limit uint64) error {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(resource, &old); err != nil {
		return fmt.Errorf("read a resource limit: %w", err)
	}
	limit = min(limit, old.Max)
	// By the syscall package: it would give the program the old limit of open files
	// back if it didn't know of the new one.
	if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		return fmt.Errorf("set a resource limit: %w", err)
	}
	return nil
}

// dropCapabilities leaves a process of root's only the rights on files that root is
// used to: what is mounted into a container often belongs to somebody else. Any
// others would undo what is taken away here: with CAP_PERFMON Linux shows other
// processes' environment, whatever Landlock says.
func dropCapabilities() error {
	const kept = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // the capabilities below 32, and those above
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	low := data[0].Permitted & kept
	data = [2]unix.CapUserData{{Effective: low, Permitted: low}}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}
