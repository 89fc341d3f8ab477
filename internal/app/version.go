package app

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// What a release's build writes here, by -ldflags -X. The others are found out from
// what Go knows of the build.
var (
	// Version is what the service calls itself.
	Version = "0.1.0"
	commit  string
	date    string // RFC 3339
)

// Built tells where a program comes from.
type Built struct {
	Version string
	// Commit is the revision of the sources, with a + behind it where they were changed;
	// "" where it isn't known.
	Commit string
	// Date is when that was made; zero where it isn't known.
	Date time.Time
}

// ReadBuilt gives where this program comes from.
func ReadBuilt() Built {
	b := Built{Version: Version, Commit: commit}
	revision, changed, made := "", "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.time":
				made = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					changed = "+"
				}
			}
		}
	}
	if b.Commit == "" && revision != "" {
		b.Commit = revision + changed
	}
	b.Date, _ = time.Parse(time.RFC3339, cmp.Or(date, made)) // zero where it isn't known
	return b
}

// String is what --version prints.
func (b Built) String() string {
	parts := []string{b.Version}
	if b.Commit != "" {
		parts = append(parts, "commit "+b.Commit)
	}
	if !b.Date.IsZero() {
		parts = append(parts, b.Date.UTC().Format(time.RFC3339))
	}
	return strings.Join(append(parts, fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)), ", ")
}
