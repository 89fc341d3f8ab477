package app

import (
	"cmp"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/otlp"
)

var update = flag.Bool("update-metrics", false, "write testdata/metrics.txt anew")

// measured is one metric of the service.
type measured struct{ name, labels, help string }

// metrics are all that a service has, with both backends and tasks.
func metrics(t *testing.T) (all []measured) {
	t.Helper()
	c := settings(t)
	c.ClaudePath, c.MaxTasks, c.CircuitBreakerThreshold = "/bin/true", 2, 5 // nothing is started
	a, err := New(t.Context(), c, silent())
	if err != nil {
		t.Fatal(err)
	}
	descriptions := make(chan *prometheus.Desc, 1_000)
	a.instruments.Gatherer().(*prometheus.Registry).Describe(descriptions)
	close(descriptions)
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	parts := regexp.MustCompile(`^Desc\{fqName: "(.*?)", help: "(.*)", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	for d := range descriptions {
		found := parts.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("%s", d)
		}
		if !strings.HasPrefix(found[1], "claude_api_") && !strings.HasPrefix(found[1], "gen_ai_") {
			continue
		}
		var labels []string
		for _, l := range strings.Split(found[3]+","+found[4], ",") {
			if name, _, _ := strings.Cut(l, "="); name != "" {
				labels = append(labels, name)
			}
		}
		slices.Sort(labels)
		m := measured{found[1], strings.Join(labels, ","), strings.ReplaceAll(found[2], `\"`, `"`)}
		if !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b measured) int { return cmp.Compare(a.name, b.name) })
	return all
}

// TestMetricsOfTheServiceArePinned: dashboards and alerts are built on them. What each is
// called in OpenTelemetry is an interface, too.
func TestMetricsOfTheServiceArePinned(t *testing.T) {
	var b strings.Builder
	for _, m := range metrics(t) {
		name, unit, sent := otlp.Name(m.name)
		if !sent {
			t.Errorf("%s isn't sent to a collector", m.name)
		}
		b.WriteString(m.name + "{" + m.labels + "} = " + name + " [" + unit + "]\n")
	}
	const file = "testdata/metrics.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil { //nolint:gosec // a test's own file
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("metrics changed (run with -update-metrics if it is meant):\n%s", b.String())
	}
}

// TestThePageTellsEveryMetric, under both of its names, and none that there isn't.
func TestThePageTellsEveryMetric(t *testing.T) {
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| `([a-z_.]+)` \\| (.*?) \\|").FindAllStringSubmatch(string(page), -1) {
		told[row[1]] = row[2] + " " + strings.ReplaceAll(strings.ReplaceAll(row[3], "`", ""), " ", "")
	}
	for _, m := range metrics(t) {
		name, _, _ := otlp.Name(m.name)
		labels := slices.DeleteFunc(strings.Split(m.labels, ","), func(l string) bool { return l == "gen_ai_operation_name" || l == "gen_ai_provider_name" })
		if got, want := told[m.name], name+" "+strings.Join(labels, ","); got != want {
			t.Errorf("of %s docs/observability.md tells %q, not %q", m.name, got, want)
		}
		delete(told, m.name)
	}
	for name := range told {
		t.Errorf("docs/observability.md tells of %s, which there isn't", name)
	}
}
