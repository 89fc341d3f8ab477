// Package doctor looks at an installation from outside, finds what is wrong with it,
// and says how to mend it.
package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"
)

// Status is how bad a finding is.
type Status string

// The states. A check that can't be made, or has nothing to look at, is skipped.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip"
)

// Finding is what one check found.
type Finding struct {
	Group  string
	Check  string
	Status Status
	Detail string
	// Mend says what to do; "" where there is nothing to do.
	Mend string
	// Fix mends it; nil where a person must.
	Fix *Fix
}

// Fix is a mend that harms nothing: rights that are taken away from others, a folder
// that is made.
type Fix struct {
	What string // as a wish: "set the rights of /x to 0700"
	Do   func() error
}

// Program is the one that looks.
type Program struct {
	Version, Commit, Path string
}

// Setting is a setting that isn't at its default.
type Setting struct {
	Flag  string // --max-workers
	Value string // "[redacted]" for a secret
	// Source is the flag itself, the name of a variable, or the path of the file.
	Source string
	// New is the variable's present name where Source is the former service's.
	New string
	// Unheard are further sources that say something else and aren't heard.
	Unheard []string
}

// Credentials are what the service has for its upstream. They are in no finding.
type Credentials struct {
	APIKey, AuthToken string
	// Files are those that they were read from.
	Files []string
}

// Database is what a look at the service's database shows.
type Database struct {
	Kind    string        // sqlite, postgresql
	Exists  bool          // false: it is made at the first start
	Version string        // of the server or library
	Latency time.Duration // of one question
	Schema  int64         // what it has
	Target  int64         // what this program has
	Keys    int           // that work
	Admins  int           // of them, those that administer the service
}

// Leftover is a former run of the service that wasn't stopped, and processes that it
// has left.
type Leftover struct {
	Run       string
	Processes []int
}

// Installation is what there is to look at. Functions must return when their context
// ends. It isn't changed.
type Installation struct {
	Program Program

	// SettingsError is why the service would not start with its settings; nil: it
	// would. Where Unread is set, nothing of them is known.
	SettingsError error
	Unread        bool
	File          string // the configuration file that is read; "": there is none
	Settings      []Setting

	DataDir      string
	DatabasePath string // "": PostgreSQL
	// Look looks at the database and changes nothing.
	Look func(ctx context.Context) (Database, error)

	Addresses       []string // host:port, or unix:/path
	SocketMode      fs.FileMode
	TLSCert, TLSKey string

	CLI        string // the binary; "": none is found
	CLIOff     bool   // the service runs without one
	ClaudeHome string
	ClaudeEnv  []string
	// Probe runs the CLI against an imitated upstream and says how workers are used;
	// fresh says that none can be used twice.
	Probe       func(ctx context.Context) (mode string, fresh bool, err error)
	Credentials Credentials
	BaseURL     string // "": api.anthropic.com
	// Online allows one question to the upstream.
	Online bool

	MaxWorkers, MaxTasks int
	// Confined says whether the CLI's processes are confined by Landlock, and what
	// holds; the error is why the service would not start.
	Confined    func() (landlock bool, what string, err error)
	ConfineMode string
	Leftovers   func() ([]Leftover, error)

	// Getenv, TempDir and Home are those of who would run the service.
	Getenv        func(name string) string
	TempDir, Home string
}

// check is one thing that is looked at.
type check struct {
	group, name string
	// without says that it can be made when the settings can't be read.
	without bool
	run     func(ctx context.Context, in *Installation) []Finding
}

// The groups, in the order in which they are shown.
const (
	groupProgram  = "Program"
	groupSettings = "Settings"
	groupData     = "Data"
	groupListen   = "Listening"
	groupCLI      = "The CLI"
	groupUpstream = "Upstream"
	groupMachine  = "Machine"
	groupService  = "Service"
)

// checks is the table. docs/doctor.md lists it, held by a test.
func checks() []check {
	return []check{
		{groupProgram, "version", true, version},
		{groupSettings, "configuration", true, configuration},
		{groupSettings, "settings", false, settings},
		{groupSettings, "old-names", false, oldNames},
		{groupData, "data-folder", false, dataFolder},
		{groupData, "private-files", false, privateFiles},
		{groupData, "disk", false, disk},
		{groupData, "database", false, database},
		{groupData, "keys", false, keys},
		{groupListen, "address", false, address},
		{groupListen, "reach", false, reach},
		{groupListen, "certificate", false, certificate},
		{groupListen, "socket", false, socket},
		{groupCLI, "cli", false, cli},
		{groupCLI, "cli-version", false, cliVersion},
		{groupCLI, "cli-probe", false, cliProbe},
		{groupCLI, "credential", false, credential},
		{groupUpstream, "upstream", false, upstream},
		{groupMachine, "confinement", false, confinement},
		{groupMachine, "limits", false, limits},
		{groupMachine, "workers", false, workers},
		{groupMachine, "clock", true, clock},
		{groupMachine, "time-zones", true, timeZones},
		{groupMachine, "proxies", false, proxies},
		{groupMachine, "leftovers", true, leftovers},
		{groupService, "unit", true, unit},
		{groupService, "health", false, health},
		{groupService, "alarms", false, alarms},
		{groupService, "crash", false, crash},
	}
}

// Names gives the checks' names, in their order.
func Names() []string {
	var names []string
	for _, c := range checks() {
		names = append(names, c.name)
	}
	return names
}

// Limit bounds all checks together.
const Limit = 10 * time.Second

// Examine makes all checks at once and gives what they found, in the order of the
// table. It takes no longer than Limit: a check that doesn't end by then is told as
// such, and left alone.
func Examine(ctx context.Context, in *Installation) []Finding {
	return examine(ctx, in, checks(), Limit)
}

func examine(ctx context.Context, in *Installation, table []check, limit time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found := make([]chan []Finding, len(table))
	for i, c := range table {
		found[i] = make(chan []Finding, 1)
		if in.Unread && !c.without {
			found[i] <- skip("the settings can't be read")
			continue
		}
		go func() { found[i] <- safely(ctx, in, c) }()
	}
	var all []Finding
	for i, c := range table {
		var of []Finding
		select {
		case of = <-found[i]:
		case <-ctx.Done():
			select { // it may have ended just then
			case of = <-found[i]:
			default:
				of = fail(fmt.Sprintf("it doesn't end within %v", limit), "what it looks at hangs: see what "+c.name+" means in docs/doctor.md, and try again")
			}
		}
		for _, f := range of {
			f.Group, f.Check = c.group, c.name
			f.Detail = strings.Join(strings.Fields(f.Detail), " ") // some errors have several lines
			all = append(all, f)
		}
	}
	return all
}

// safely makes a check. One that panics is a finding like others.
func safely(ctx context.Context, in *Installation, c check) (found []Finding) {
	defer func() {
		if p := recover(); p != nil {
			found = fail(fmt.Sprintf("the check itself is broken: %v", p), "report it, with this line")
		}
	}()
	return c.run(ctx, in)
}

// Worst gives the worst state among findings.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		if f.Status == Fail || f.Status == Warn && worst != Fail {
			worst = f.Status
		}
	}
	return worst
}

func ok(detail string) []Finding   { return []Finding{{Status: OK, Detail: detail}} }
func skip(detail string) []Finding { return []Finding{{Status: Skip, Detail: detail}} }

func okay(format string, args ...any) []Finding { return ok(fmt.Sprintf(format, args...)) }

func warn(detail, mend string) []Finding {
	return []Finding{{Status: Warn, Detail: detail, Mend: mend}}
}

func fail(detail, mend string) []Finding {
	return []Finding{{Status: Fail, Detail: detail, Mend: mend}}
}

// fixed adds what mends the finding.
func fixed(found []Finding, what string, do func() error) []Finding {
	found[0].Fix = &Fix{What: what, Do: do}
	return found
}

// gather puts what several looks found together; alright, where nothing was wrong.
func gather(alright []Finding, all ...[]Finding) []Finding {
	var found []Finding
	for _, of := range all {
		found = append(found, of...)
	}
	if len(found) == 0 {
		return alright
	}
	return found
}

// each runs every look at once.
func each[T any](list []T, look func(T) []Finding) []Finding {
	found := make([][]Finding, len(list))
	var all sync.WaitGroup
	for i, item := range list {
		all.Go(func() { found[i] = look(item) })
	}
	all.Wait()
	return gather(nil, found...)
}
