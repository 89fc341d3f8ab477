package doctor

import (
	"golang.org/x/sys/unix"
)

// freeBytes is how much may be written where a folder is.
func freeBytes(folder string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		return 0, err
	}
	return stat.Bavail * uint64(stat.Bsize), nil // its type differs between systems
}

// openFileLimit is the most files that the service may have open; 0: no limit. Go
// raises the soft limit to it.
func openFileLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Max == unix.RLIM_INFINITY {
		return 0, nil
	}
	return limit.Max, nil
}
