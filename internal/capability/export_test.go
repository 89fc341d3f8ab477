package capability

import (
	"errors"

	"github.com/fsnotify/fsnotify"
)

// Heard has a test hear of every reading that it hasn't asked for.
func Heard(o Options, heard func()) Options {
	o.heard = heard
	return o
}

// Blind makes Options of a system that watches nothing.
func Blind(o Options) Options {
	o.notify = func() (*fsnotify.Watcher, error) { return nil, errors.New("no more watches") }
	return o
}
