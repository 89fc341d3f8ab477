package gateway

import "time"

// Work is what a call asks of a process of the CLI with tools of its own. What it names
// was checked: the caller may do it.
type Work struct {
	// Tools are the CLI's tools that may be used, each maybe with a rule behind it; All
	// is all that the caller's profile allows.
	Tools []string
	// Directory is where the work is done: absolute, without links. "": in a folder of
	// its own, which is empty.
	Directory string
	// Timeout is the longest that it may take; 0: no limit.
	Timeout time.Duration
	// Session is the id of the caller's session that answers, as it was made: neither
	// Tools nor Directory is set then. "": none does.
	Session string
}
