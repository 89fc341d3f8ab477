package benchmark

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Machine is what a run was measured on. Runs of different machines say nothing of
// each other.
type Machine struct {
	Name  string `json:"name"` // of the host
	OS    string `json:"os"`
	Arch  string `json:"arch"`
	CPU   string `json:"cpu,omitempty"` // where the system tells
	Cores int    `json:"cores"`
}

// ThisMachine describes where the program runs.
func ThisMachine() Machine {
	name, _ := os.Hostname() // "" where there is none
	return Machine{Name: name, OS: runtime.GOOS, Arch: runtime.GOARCH, CPU: processor(), Cores: runtime.GOMAXPROCS(0)}
}

// processor is what Linux calls it; "" elsewhere.
func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(data) {
		if name, value, found := strings.Cut(string(line), ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Run is one run of the benchmark, as the history keeps it: of the sources of
// latency, or of one or two services.
type Run struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Commit  string    `json:"commit,omitempty"` // of the program, where it was built from a repository
	Machine Machine   `json:"machine"`
	CLI     string    `json:"cli,omitempty"` // its version
	Rounds  int       `json:"rounds"`

	Sources *Sources `json:"sources,omitempty"`
	Compare *Compare `json:"compare,omitempty"`
}

// JSON gives the run as the history keeps it, on one line. The order of members is
// always the same.
func (r *Run) JSON() ([]byte, error) { return json.Marshal(r, json.Deterministic(true)) }

// historyName is the history's file in a data folder.
const historyName = "bench.jsonl"

// HistoryFile is where the history of a data folder is: a line of JSON for each run.
func HistoryFile(folder string) string { return filepath.Join(folder, historyName) }

// Append adds a run to the history of a data folder, which is made where there is
// none.
func Append(folder string, run *Run) (err error) {
	line, err := run.JSON()
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	file, err := os.OpenFile(HistoryFile(folder), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	_, err = file.Write(append(line, '\n')) // one write: runs at once keep their lines
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	return nil
}

// maxLine is far more than a run needs.
const maxLine = 1 << 20

// History gives the runs of a data folder, oldest first; none where there is no
// history. skipped counts lines that hold no run: one that was cut off, or of a
// later version.
func History(folder string) (runs []Run, skipped int, err error) {
	file, err := os.Open(HistoryFile(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the history: %w", err)
	}
	defer func() { _ = file.Close() }() // it was read
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var run Run
		if err := json.Unmarshal(lines.Bytes(), &run); err != nil || run.Sources == nil && run.Compare == nil {
			skipped++
			continue
		}
		runs = append(runs, run)
	}
	if err := lines.Err(); err != nil {
		return nil, 0, fmt.Errorf("read the history: %w", err)
	}
	return runs, skipped, nil
}

// Former gives, for each run of the sources, the run of the sources before it on the
// same machine; nil where there is none. It has one entry for each of runs.
func Former(runs []Run) []*Run {
	before := make([]*Run, len(runs))
	last := map[Machine]*Run{}
	for i := range runs {
		if runs[i].Sources == nil {
			continue
		}
		before[i] = last[runs[i].Machine]
		last[runs[i].Machine] = &runs[i]
	}
	return before
}

// Way gives the median of one of the Way constants in milliseconds; 0 where the run
// has none.
func (r *Run) Way(name string) float64 {
	if r.Sources == nil {
		return 0
	}
	return r.Sources.way(name)
}
