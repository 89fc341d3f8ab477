package doctor

import (
	"context"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"
)

func confinement(_ context.Context, in *Installation) []Finding {
	if none := in.noCLI(); none != nil {
		return none
	}
	if in.Confined == nil {
		return skip("there is nothing to ask")
	}
	landlock, what, err := in.Confined()
	switch {
	case err != nil:
		return fail("--confine is require, but there is "+err.Error(), "a kernel with Landlock (Linux 5.13 or later, lsm=landlock), or --confine auto")
	case in.ConfineMode == "off":
		return warn("the CLI's processes aren't confined: "+what, "--confine auto")
	case !landlock:
		return warn(what, "a kernel with Landlock (Linux 5.13 or later, lsm=landlock); a container's seccomp profile may hide it")
	}
	return ok(what)
}

// What a worker needs, as measured (docs/operations.md).
const (
	workerBytes   = 310 << 20
	workerThreads = 40
	serviceBytes  = 200 << 20
	leastFiles    = 4096
	// workersPerCore: more of them at work at once wait for each other.
	workersPerCore = 4
)

// processes is the most of the CLI's processes at once.
func (in *Installation) processes() uint64 {
	if in.CLIOff || in.CLI == "" {
		return 0
	}
	return uint64(in.MaxWorkers + in.MaxTasks)
}

func limits(_ context.Context, in *Installation) []Finding {
	files, err := openFileLimit()
	if err != nil {
		return warn("the limit of open files can't be told: "+err.Error(), "")
	}
	return judgeLimits(in, files, processLimit())
}

func judgeLimits(in *Installation, files, processes uint64) []Finding {
	var found []Finding
	if files != 0 && files < leastFiles {
		found = append(found, warn(fmt.Sprintf("at most %d files may be open: each caller and each CLI process takes some", files), fmt.Sprintf("ulimit -n %d; LimitNOFILE=%d in a systemd unit", leastFiles, leastFiles))...)
	}
	if need := in.processes() * workerThreads; processes != 0 && processes < need {
		found = append(found, fail(fmt.Sprintf("at most %d processes and threads may run, and %d CLI processes take up to %d", processes, in.processes(), need), fmt.Sprintf("ulimit -u %d; TasksMax=%d in a systemd unit; or fewer workers: --max-workers", 2*need, 2*need))...)
	}
	text := func(n uint64) string {
		if n == 0 {
			return "no limit"
		}
		return fmt.Sprint(n)
	}
	return gather(okay("open files: %s, processes: %s", text(files), text(processes)), found)
}

func workers(_ context.Context, in *Installation) []Finding {
	if none := in.noCLI(); none != nil {
		return none
	}
	return judgeWorkers(in, runtime.GOMAXPROCS(0), memoryBytes())
}

func judgeWorkers(in *Installation, cores int, memory uint64) []Finding {
	var found []Finding
	need := in.processes()*workerBytes + serviceBytes
	if memory != 0 && need > memory {
		found = append(found, fail(
			fmt.Sprintf("%d CLI processes need about %s, and there is %s of memory", in.processes(), bytesText(need), bytesText(memory)),
			fmt.Sprintf("--max-workers %d, or more memory", max(1, int((memory-min(memory, serviceBytes))/workerBytes)-in.MaxTasks)),
		)...)
	}
	if most := workersPerCore * cores; in.MaxWorkers > most {
		found = append(found, warn(fmt.Sprintf("%d workers share %d cores: at work at once, they wait for each other", in.MaxWorkers, cores), fmt.Sprintf("--max-workers %d, or more cores", most))...)
	}
	if memory == 0 {
		return gather(okay("%d workers and %d tasks at most on %d cores, which need about %s", in.MaxWorkers, in.MaxTasks, cores, bytesText(need)), found)
	}
	return gather(okay("%d workers and %d tasks at most on %d cores; they need about %s of %s", in.MaxWorkers, in.MaxTasks, cores, bytesText(need), bytesText(memory)), found)
}

// How the clock is looked at.
const (
	clockWatch = 200 * time.Millisecond
	clockDrift = 20 * time.Millisecond
)

// earliest is before this version was made: a clock that says less is wrong.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func clock(ctx context.Context, _ *Installation) []Finding {
	before := time.Now()
	select {
	case <-time.After(clockWatch):
	case <-ctx.Done():
	}
	after := time.Now()
	return judgeClock(after, after.Sub(before), after.Round(0).Sub(before.Round(0)))
}

// judgeClock compares how long something took by the clock that only goes forward and
// by the one that tells the time.
func judgeClock(now time.Time, monotonic, wall time.Duration) []Finding {
	const mend = "let something keep the clock: chronyd, or timedatectl set-ntp true"
	switch drift := (wall - monotonic).Abs(); {
	case now.Before(earliest):
		return fail("it says "+now.Format(time.DateTime)+": certificates and expiries are judged by it", mend)
	case drift > clockDrift:
		return warn(fmt.Sprintf("it jumped by %v while it was looked at: days of budgets and expiries follow it", drift.Round(time.Millisecond)), mend+"; if it is being set, look again")
	}
	return ok(now.Format(time.DateTime + " MST"))
}

func timeZones(_ context.Context, in *Installation) []Finding {
	const mend = "install the system's tzdata, or set TZ to a name of it such as Europe/Berlin"
	if _, err := time.LoadLocation("America/New_York"); err != nil {
		return fail("there is no data of time zones: budgets in a project's own can't be kept", mend)
	}
	if name := strings.TrimPrefix(in.Getenv("TZ"), ":"); name != "" {
		if _, err := time.LoadLocation(name); err != nil {
			return warn("TZ names a time zone that there isn't: "+name, mend)
		}
	}
	return ok(time.Now().Format("MST -0700"))
}

// proxyVariables are those that programs read.
var proxyVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"}

// proxies says who else sees prompts and credentials. What is set is never told whole:
// many hold a password.
func proxies(_ context.Context, in *Installation) []Finding {
	var found []Finding
	set := 0
	for _, name := range proxyVariables {
		value := in.Getenv(name)
		if value == "" {
			continue
		}
		set++
		if slices.Contains(in.ClaudeEnv, name) {
			found = append(found, warn(fmt.Sprintf("the CLI gets %s from --claude-env: its prompts and its credential go through %s", name, proxyHost(value)), "take "+name+" out of --claude-env, unless that is meant")...)
		}
	}
	for _, name := range in.ClaudeEnv {
		if strings.HasPrefix(name, "ANTHROPIC_") && in.Getenv(name) != "" {
			found = append(found, warn("the CLI gets "+name+" from --claude-env, beside what the service gives it", "take it out of --claude-env: the service passes its own on")...)
		}
	}
	if set > 0 {
		return gather(okay("%d variables name a proxy, and neither the direct path nor the CLI uses them", set), found)
	}
	return gather(ok("none is set"), found)
}

func proxyHost(value string) string {
	if u, err := url.Parse(value); err == nil && u.Host != "" {
		return u.Host
	}
	return "a proxy"
}

func leftovers(_ context.Context, in *Installation) []Finding {
	if in.Leftovers == nil {
		return skip("they can't be found on this system")
	}
	left, err := in.Leftovers()
	if err != nil {
		return warn("they can't be looked for: "+err.Error(), "")
	}
	var found []Finding
	for _, l := range left {
		if len(l.Processes) > 0 {
			found = append(found, warn(fmt.Sprintf("a run of the service that was killed (%s) has left processes: %s", l.Run, strings.Trim(fmt.Sprint(l.Processes), "[]")), "the next start of the service ends them; or kill them")...)
		}
	}
	return gather(ok("no processes of former runs"), found)
}
