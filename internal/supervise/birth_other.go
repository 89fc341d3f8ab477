//go:build !linux && !darwin

package supervise

import "errors"

var errGone = errors.New("there is no such process")

// birth is known on Linux and macOS.
func birth(int) (string, error) {
	return "", errors.New("processes can't be told apart on this system: run claude-api serve under its own service manager")
}
