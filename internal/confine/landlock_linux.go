package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// landlock is what a kernel's Landlock can do (landlock(7)).
type landlock struct {
	abi int
	// files are the rights that a ruleset takes away unless a rule gives them; scopes
	// keep the program from others that aren't confined with it.
	files, scopes uint64
}

const (
	rightsToRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	rightsToRun   = rightsToRead | unix.LANDLOCK_ACCESS_FS_EXECUTE
	rightsOnFiles = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// Neither programs nor devices can be made where something can be written.
	rightsToWrite = rightsToRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_REFER
)

// kernel asks the kernel once.
var kernel = sync.OnceValues(func() (landlock, error) {
	return ask(func(flags uintptr) (int, error) {
		n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, flags)
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	})
})

// ask finds out what a kernel can do, from its answers to
// landlock_create_ruleset(NULL, 0, flags).
func ask(question func(flags uintptr) (int, error)) (landlock, error) {
	abi, err := question(unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errors.Is(err, unix.ENOSYS):
		return landlock{}, errors.New("no Landlock: the kernel was built without it, or a container hides it")
	case errors.Is(err, unix.EOPNOTSUPP):
		return landlock{}, errors.New("no Landlock: it was switched off when the kernel started")
	case err != nil:
		return landlock{}, fmt.Errorf("no Landlock: %w", err)
	}
	l := landlock{abi: abi, files: unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1} // ABI 1: all up to that one
	if abi >= 2 {
		l.files |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		l.files |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		l.files |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		l.scopes = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return l, nil
}

func (l landlock) String() string {
	what := "files"
	if l.scopes != 0 {
		what += ", signals"
	}
	return fmt.Sprintf("Landlock ABI %d (%s)", l.abi, what)
}

// ruleset makes what restrict takes. The caller closes it.
func (l landlock) ruleset(rules Rules) (_ *os.File, err error) {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: l.files, Scoped: l.scopes}
	// The three members that every kernel with them knows; an older one takes those
	// that it doesn't know while they are 0.
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), unsafe.Offsetof(attr.Quiet_access_fs), 0)
	if errno != 0 {
		return nil, fmt.Errorf("make a Landlock ruleset: %w", errno)
	}
	unix.CloseOnExec(int(fd))
	set := os.NewFile(fd, "landlock ruleset")
	defer func() {
		if err != nil {
			_ = set.Close()
		}
	}()
	for _, rule := range []struct {
		paths  []string
		rights uint64
	}{{rules.Run, rightsToRun}, {rules.Read, rightsToRead}, {rules.Write, rightsToWrite}} {
		for _, path := range rule.paths {
			if err := l.allowPath(int(fd), path, rule.rights, slices.Contains(rules.Held, path)); err != nil {
				return nil, fmt.Errorf("make a Landlock rule for %s: %w", path, err)
			}
		}
	}
	return set, nil
}

// allowPath gives rights on a path, on where it leads if it is a link; unless it is
// held, which is an error then.
func (l landlock) allowPath(ruleset int, path string, rights uint64, held bool) error {
	const flags = unix.O_PATH | unix.O_CLOEXEC
	var fd int
	var err error
	if held {
		fd, err = unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_SYMLINKS}) // older than Landlock
	} else {
		fd, err = unix.Open(path, flags, 0)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR) {
		return nil // the program couldn't get there either
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= rightsOnFiles
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights & l.files, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// restrict takes from the calling thread, and from what it starts, all that the
// ruleset doesn't give.
func restrict(ruleset int) error {
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return fmt.Errorf("take on a Landlock ruleset: %w", errno)
	}
	return nil
}
