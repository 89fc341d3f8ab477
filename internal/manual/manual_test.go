package manual

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// grammar has one of each thing that a command line can have.
type grammar struct {
	Config string `help:"Settings (YAML)." type:"path"`
	Cook   struct {
		Dish  string   `arg:"" help:"What to cook." enum:"soup,stew,bread"`
		With  []string `arg:"" optional:"" help:"Files with recipes."`
		Heat  string   `short:"h" help:"How hot." enum:"low,high" default:"low" env:"HEAT,COOK_HEAT"`
		Salt  bool     `short:"s" help:"With salt." default:"true"`
		Times int      `help:"How often; a file is no number." default:"1"`
		Note  string   `help:".hidden 'quotes' and \\ in ~ the text – at its begin."`
		Trick string   `hidden:""`
	} `cmd:"" help:"Cook something."`
	Shop struct {
		List struct{} `cmd:"" help:"List what there is." aliases:"ls"`
		Buy  struct {
			What string `arg:"" help:"What to buy."`
		} `cmd:"" help:"Buy something."`
	} `cmd:"" help:"Look after the larder."`
	Secret struct{} `cmd:"" hidden:""`
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := kong.New(&grammar{}, kong.Name("kitchen"), kong.Description("A kitchen."), kong.NoDefaultHelp())
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

func TestComplete(t *testing.T) {
	app := model(t)
	for line, want := range map[string]string{
		"":                         "cook shop",
		"c":                        "cook",
		"x":                        "",
		"--":                       "--config",
		"-":                        "--config",
		"--config ":                "FILES",
		"--config=":                "FILES",
		"--config x sh":            "shop",
		"--config=x sh":            "shop",
		"shop ":                    "list buy",
		"shop ls ":                 "",
		"shop buy ":                "",
		"cook ":                    "soup stew bread",
		"cook s":                   "soup stew",
		"cook soup ":               "FILES",
		"cook soup a b ":           "FILES",
		"cook --":                  "--config --heat --salt --times --note",
		"cook --heat ":             "low high",
		"cook --heat h":            "high",
		"cook --heat=":             "--heat=low --heat=high",
		"cook --heat=h":            "--heat=high",
		"cook -h ":                 "low high",
		"cook -sh ":                "low high",
		"cook -h low st":           "stew",
		"cook --salt st":           "stew",
		"cook --salt=":             "--salt=true --salt=false",
		"cook --times ":            "",
		"cook --nonsense=":         "",
		"cook --nonsense ":         "soup stew bread",
		"cook -- -":                "",
		"cook -- st":               "stew",
		"secret ":                  "",
		"cook --heat low -s soup ": "FILES",
	} {
		candidates, files := Complete(app, strings.Split(line, " "))
		var got []string
		for _, c := range candidates {
			got = append(got, c.Word)
		}
		if files {
			got = append(got, "FILES")
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%q: %q, want %q", line, text, want)
		}
	}
}

// Bash takes a flag and its value apart.
func TestAnswerBash(t *testing.T) {
	for line, want := range map[string]string{
		"cook --heat =":       "low\t\nhigh\t\n",
		"cook --heat = h":     "high\t\n",
		"cook --heat = low s": "soup\t\nstew\t\n",
		"= ":                  "cook\tCook something.\nshop\tLook after the larder.\n",
		"--config = ":         ":files\n",
	} {
		var got bytes.Buffer
		if err := Answer(&got, model(t), Bash, strings.Split(line, " ")); err != nil || got.String() != want {
			t.Errorf("%q: %q, %v", line, got.String(), err)
		}
	}
}

func TestPages(t *testing.T) {
	book := Book{App: model(t), Version: "1.2.3", Date: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC), Sections: []Section{{"Exit status", [][2]string{{"0", "Done."}}}}}
	pages := map[string]string{}
	for _, p := range book.Pages() {
		pages[p.Name] = p.Text
	}
	for name, wants := range map[string][]string{
		"kitchen": {".TH \"KITCHEN\" 1 \"2026-11-29\" \"kitchen 1.2.3\"", "kitchen \\- a kitchen\n", ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nDone.\n", "\\fB\\-\\-config\\fR=\\fICONFIG\\fR\nSettings (YAML).\n"},
		"kitchen-cook": {
			"cook something\n", "Default: low. One of low, high. Variable: HEAT, COOK_HEAT.\n", "\\fB\\-h\\fR, \\fB\\-\\-heat\\fR=\\fIHEAT\\fR\n",
			"\\fB\\-s\\fR, \\fB\\-\\-salt\\fR\nWith salt.\nOn by default; \\-\\-salt=false switches it off.\n",
			"\\&.hidden \\(aqquotes\\(aq and \\e in \\(ti the text \\[u2013] at its begin.\n",
		},
		"kitchen-shop": {".SS \"kitchen shop list (ls)\"\n", ".SS \"kitchen shop buy\"\n", "\\fI<what>\\fR\nWhat to buy.\n"},
	} {
		for _, want := range wants {
			if !strings.Contains(pages[name], want) {
				t.Errorf("%s: no %q in\n%s", name, want, pages[name])
			}
		}
	}
	if all := fmt.Sprint(pages); len(pages) != 3 || strings.Contains(all, "trick") || strings.Contains(all, "secret") {
		t.Errorf("what is hidden is shown: %s", all)
	}
}
