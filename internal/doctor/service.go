package doctor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// unitName is what packages and claude-api service install call the service.
const unitName = "claude-api"

// unit looks whether something starts the service with the machine.
func unit(_ context.Context, in *Installation) []Finding {
	return lookForUnit(runtime.GOOS, in.Home, "/")
}

func lookForUnit(system, home, root string) []Finding {
	if system == "darwin" {
		for _, pattern := range []string{filepath.Join(home, "Library/LaunchAgents/*"+unitName+"*.plist"), filepath.Join(root, "Library/LaunchDaemons/*"+unitName+"*.plist")} {
			if found, _ := filepath.Glob(pattern); len(found) > 0 { // the patterns are well-formed
				return ok(found[0])
			}
		}
		return skip("launchd doesn't know the service; claude-api service install tells it")
	}
	user := filepath.Join(home, ".config/systemd/user")
	for _, folder := range []string{user, filepath.Join(root, "etc/systemd/system"), filepath.Join(root, "usr/lib/systemd/system"), filepath.Join(root, "lib/systemd/system")} {
		path := filepath.Join(folder, unitName+".service")
		if _, err := os.Stat(path); err != nil {
			continue
		}
		enabling := []string{filepath.Join(root, "etc/systemd/system")}
		hint := "systemctl enable --now "
		if folder == user {
			enabling, hint = []string{user}, "systemctl --user enable --now "
		}
		for _, in := range enabling {
			for _, pattern := range []string{"*.wants/" + unitName + ".service", "*.wants/" + unitName + ".socket"} {
				if found, _ := filepath.Glob(filepath.Join(in, pattern)); len(found) > 0 { // the patterns are well-formed
					return ok(path + ", enabled")
				}
			}
		}
		return warn(path+" isn't enabled: nothing starts the service with the machine", hint+unitName)
	}
	return skip("no systemd unit is installed; claude-api service install makes one")
}

// health asks a running service how it is.
func health(ctx context.Context, in *Installation) []Finding {
	return onRunning(ctx, in, func(r *running, answer *healthAnswer) []Finding {
		var found []Finding
		for _, name := range slices.Sorted(maps.Keys(answer.Services)) {
			part := answer.Services[name]
			switch part.Status {
			case "degraded":
				found = append(found, warn(name+": "+part.Detail, "docs/operations.md says what each means")...)
			case "down":
				found = append(found, fail(name+": "+part.Detail, "docs/operations.md says what each means")...)
			}
		}
		status, body, err := r.get(ctx, "/ready")
		var ready struct {
			Ready  bool   `json:"ready"`
			Reason string `json:"reason"`
		}
		if err == nil && status != http.StatusOK && json.Unmarshal(body, &ready) == nil && !ready.Ready {
			found = append(found, fail("not ready: "+ready.Reason, "see what the reason names; while it starts, look again in a moment")...)
		}
		return gather(ok("all well, and ready"), found)
	})
}

// onRunning calls look with the service that runs on the first address that has one.
func onRunning(ctx context.Context, in *Installation, look func(r *running, answer *healthAnswer) []Finding) []Finding {
	for _, address := range in.Addresses {
		r := in.service(address)
		if answer, err := r.health(ctx); err == nil {
			return look(r, answer)
		} else if !errors.Is(err, errAbsent) && !errors.Is(err, errOther) {
			return skip("what listens doesn't answer; see address")
		}
	}
	return skip("the service isn't running")
}

// alarms reads a running service's metrics for what somebody should look at.
func alarms(ctx context.Context, in *Installation) []Finding {
	return onRunning(ctx, in, func(r *running, _ *healthAnswer) []Finding {
		status, body, err := r.get(ctx, "/metrics")
		if err != nil || status != http.StatusOK {
			return warn(fmt.Sprintf("/metrics can't be read (%d)", status), "see the service's log")
		}
		return judgeMetrics(in, body)
	})
}

// placesPerWorker is how many requests may wait for each worker.
const placesPerWorker = 10

func judgeMetrics(in *Installation, body []byte) []Finding {
	m := readMetrics(body)
	var found []Finding
	for series, value := range m {
		if strings.HasPrefix(series, "claude_api_breaker_state{") && value > 0 {
			state := "open"
			if value == 1 {
				state = "half open"
			}
			found = append(found, warn("a circuit breaker is "+state+": "+strings.TrimPrefix(series, "claude_api_breaker_state"), "the backend failed several times in a row; the log says why, and /health how long it waits")...)
		}
	}
	if queued, places := m["claude_api_cli_queue_length"], float64(in.MaxWorkers*placesPerWorker); queued >= places && places > 0 {
		found = append(found, fail(fmt.Sprintf("the queue is full: %.0f requests wait for a worker, and more are refused", queued), "more workers (--max-workers), or fewer requests at once; claude-api top shows whose they are")...)
	} else if queued > places/2 {
		found = append(found, warn(fmt.Sprintf("%.0f of %.0f places in the queue are taken", queued, places), "more workers (--max-workers), or fewer requests at once")...)
	}
	alive := 0.0
	for series, value := range m {
		if strings.HasPrefix(series, "claude_api_cli_workers{") {
			alive += value
		}
	}
	if _, pool := m[`claude_api_cli_workers{state="idle"}`]; pool && alive == 0 {
		found = append(found, fail("no CLI process runs", "see cli-probe, and the service's log for why they end")...)
	}
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.Detail, b.Detail) })
	return gather(okay("%d series, none in alarm", len(m)), found)
}

// readMetrics reads the samples of Prometheus' text format, without times.
func readMetrics(body []byte) map[string]float64 {
	samples := map[string]float64{}
	for line := range bytes.Lines(body) {
		text := strings.TrimSpace(string(line))
		at := strings.LastIndexByte(text, ' ')
		if text == "" || text[0] == '#' || at < 0 {
			continue
		}
		if value, err := strconv.ParseFloat(text[at+1:], 64); err == nil {
			samples[text[:at]] = value
		}
	}
	return samples
}

// How much of a log is read, and how long ago a crash still matters.
const (
	logTail   = 1 << 20
	crashAges = 7 * 24 * time.Hour
)

// crash looks for the end of a program that died in its own log files: those in the
// data folder, and launchd's. What systemd keeps, journalctl shows.
func crash(_ context.Context, in *Installation) []Finding {
	logs, _ := filepath.Glob(filepath.Join(in.DataDir, "*.log")) // the pattern is well-formed
	if agent := filepath.Join(in.Home, "Library/Logs/claude-api.log"); runtime.GOOS == "darwin" {
		if _, err := os.Stat(agent); err == nil {
			logs = append(logs, agent)
		}
	}
	if len(logs) == 0 {
		return skip("there is no log file in the data folder; journalctl -u " + unitName + " shows what systemd keeps")
	}
	var found []Finding
	for _, path := range logs {
		line, at, err := lastCrash(path)
		switch {
		case err != nil:
			found = append(found, warn(err.Error(), "let the user who runs the service read it")...)
		case line != "" && time.Since(at) < crashAges:
			found = append(found, warn(fmt.Sprintf("%s tells of a crash, not after %s: %s", path, at.Format(time.DateTime), line), "report it with the lines that follow it there")...)
		}
	}
	return gather(okay("no crash in %d log files", len(logs)), found)
}

// lastCrash gives the last line that the Go runtime begins a crash with, and when the
// log was last written.
func lastCrash(path string) (line string, at time.Time, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", at, err
	}
	defer func() { _ = file.Close() }() // it was read
	info, err := file.Stat()
	if err != nil {
		return "", at, err
	}
	if _, err := file.Seek(max(0, info.Size()-logTail), 0); err != nil {
		return "", at, err
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, logTail)
	for lines.Scan() {
		for _, mark := range []string{"panic: ", "fatal error: ", "SIGSEGV", "runtime: out of memory"} {
			if text := lines.Text(); strings.HasPrefix(text, mark) {
				line = text[:min(len(text), 300)]
			}
		}
	}
	return line, info.ModTime(), lines.Err()
}
