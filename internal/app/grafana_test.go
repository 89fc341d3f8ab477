package app

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"
)

const deploy = "../../deploy/"

// panel is one of a dashboard of Grafana's.
type panel struct {
	ID         int    `json:"id"`
	Type       string `json:"type"`
	Title      string `json:"title"`
	Datasource struct {
		UID string `json:"uid"`
	} `json:"datasource"`
	GridPos struct{ H, W, X, Y int } `json:"gridPos"`
	Targets []struct {
		RefID  string `json:"refId"`
		Expr   string `json:"expr"`
		Legend string `json:"legendFormat"`
	} `json:"targets"`
}

// grafana reads the file that Grafana imports.
func grafana(t *testing.T) (panels []panel, queries []string) {
	t.Helper()
	text, err := os.ReadFile(deploy + "grafana/claude-api.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		UID           string  `json:"uid"`
		SchemaVersion int     `json:"schemaVersion"`
		Panels        []panel `json:"panels"`
		Templating    struct {
			List []struct {
				Name  string `json:"name"`
				Type  string `json:"type"`
				Query any    `json:"query"`
			} `json:"list"`
		} `json:"templating"`
	}
	if err := json.Unmarshal(text, &file, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	if file.UID != "claude-api" || file.SchemaVersion < 36 || len(file.Panels) == 0 {
		t.Errorf("uid %q, schemaVersion %d, %d panels", file.UID, file.SchemaVersion, len(file.Panels))
	}
	for _, v := range file.Templating.List {
		if query, ok := v.Query.(map[string]any); ok {
			queries = append(queries, query["query"].(string))
		}
	}
	return file.Panels, queries
}

// TestDashboardIsWhole: panels lie beside each other, ask the chosen data source, and ask
// only for metrics and labels that there are.
func TestDashboardIsWhole(t *testing.T) {
	panels, queries := grafana(t)
	known := labelsOf(t)
	ids, covered := map[int]bool{}, map[[2]int]string{}
	asked := map[string]bool{}
	for _, p := range panels {
		if ids[p.ID] {
			t.Errorf("%s: the id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Title == "" || p.GridPos.W < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%q lies at %+v", p.Title, p.GridPos)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := covered[at]; other != "" {
					t.Fatalf("%q covers %q", p.Title, other)
				}
				covered[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%q asks %q, %d queries", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, target := range p.Targets {
			for _, name := range checkQuery(t, p.Title, target.Expr, known) {
				asked[name] = true
			}
			for _, found := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.Legend, -1) {
				if !strings.Contains(target.Expr, found[1]) && found[1] != "instance" {
					t.Errorf("%q: the legend's %s isn't in the answer", p.Title, found[1])
				}
			}
		}
	}
	for _, query := range queries {
		checkQuery(t, "a variable", query, known)
	}
	for name := range known {
		if !asked[name] && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// labelsOf gives the labels of each metric of the service, and of those of the Go runtime
// and the process that are asked for.
func labelsOf(t *testing.T) map[string][]string {
	t.Helper()
	known := map[string][]string{"process_resident_memory_bytes": nil, "process_cpu_seconds_total": nil, "go_goroutines": nil}
	for _, m := range metrics(t) {
		known[m.name] = strings.Split(m.labels, ",")
	}
	return known
}

var (
	selectors = regexp.MustCompile(`\b((?:claude_api|gen_ai|go|process)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matchers  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
)

// checkQuery checks the metrics of a query and what is asked of their labels, and gives
// their names.
func checkQuery(t *testing.T, where, query string, known map[string][]string) (names []string) {
	t.Helper()
	for _, found := range selectors.FindAllStringSubmatch(query, -1) {
		name := found[1]
		if grouped := slices.ContainsFunc(slices.Concat(slices.Collect(labelsIn(known))), func(label string) bool { return label == name }); grouped {
			continue // gen_ai_request_model, in a by
		}
		if _, ok := known[name]; !ok {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
		}
		labels, ok := known[name]
		if !ok {
			t.Errorf("%s: there is no metric %s", where, found[1])
			continue
		}
		names = append(names, name)
		for _, matcher := range matchers.FindAllStringSubmatch(found[2], -1) {
			if label := matcher[1]; !slices.Contains(labels, label) && !slices.Contains([]string{"job", "instance", "le"}, label) {
				t.Errorf("%s: %s has no label %s", where, name, label)
			}
		}
	}
	return names
}

func labelsIn(known map[string][]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, labels := range known {
			for _, l := range labels {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// rule is one of a file of Prometheus's rules.
type rule struct {
	Alert       string            `yaml:"alert,omitempty"`
	Record      string            `yaml:"record,omitempty"`
	Expr        string            `yaml:"expr"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
}

func alerts(t *testing.T) (rules []rule) {
	t.Helper()
	text, err := os.ReadFile(deploy + "prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

// TestAlertsAskForWhatThereIs: each rule names metrics and labels that there are, and has
// its line in docs/observability.md and its test in alerts_test.yml.
func TestAlertsAskForWhatThereIs(t *testing.T) {
	known := labelsOf(t)
	tests, err := os.ReadFile(deploy + "prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := alerts(t)
	if len(rules) < 10 {
		t.Errorf("only %d rules", len(rules))
	}
	for _, r := range rules {
		if names := checkQuery(t, r.Alert, r.Expr, known); len(names) == 0 && !strings.Contains(r.Expr, "up{") {
			t.Errorf("%s asks for nothing", r.Alert)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
			t.Errorf("%s says too little", r.Alert)
		}
		if !strings.Contains(string(tests), "alertname: "+r.Alert+"\n        exp_alerts") {
			t.Errorf("%s has no test that raises it", r.Alert)
		}
		if !strings.Contains(string(page), "| `"+r.Alert+"` |") {
			t.Errorf("docs/observability.md doesn't name %s", r.Alert)
		}
	}
}

// promtool finds Prometheus's own checker, or skips the test.
func promtool(t *testing.T) func(args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CLAUDE_API_TEST_REQUIRE_PROMTOOL") == "1" {
			t.Fatal("promtool is required here (CLAUDE_API_TEST_REQUIRE_PROMTOOL=1)")
		}
		t.Skip("SKIPPED: there is no promtool (Debian: apt-get download prometheus, dpkg -x)")
	}
	return func(args ...string) {
		t.Helper()
		if output, err := exec.CommandContext(context.Background(), path, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
}

// TestPromtool has Prometheus's own checker take the rules, run their tests, and read
// every query of the dashboard.
func TestPromtool(t *testing.T) {
	run := promtool(t)
	run("check", "rules", deploy+"prometheus/alerts.yml")
	run("test", "rules", deploy+"prometheus/alerts_test.yml")
	panels, _ := grafana(t)
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	file.Groups = append(file.Groups, struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	}{Name: "dashboard"})
	variables := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*", "$backend", ".*", "$model", ".*")
	for _, p := range panels {
		for _, target := range p.Targets {
			record := "of_panel_" + target.RefID + "_" + regexp.MustCompile(`\W+`).ReplaceAllString(p.Title, "_")
			file.Groups[0].Rules = append(file.Groups[0].Rules, rule{Record: record, Expr: variables.Replace(target.Expr)})
		}
	}
	text, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	run("check", "rules", path)
}
