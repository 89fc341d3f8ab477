package benchmark

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The measures of the chart, in its own units.
const (
	chartWidth  = 960
	chartLabels = 272 // the names, at the left
	chartValues = 120 // the figures behind the longest bar
	chartTop    = 112
	chartRow    = 58
	chartBar    = 17
	chartBottom = 78
)

// style has both schemes: whoever shows the chart says which it is in. The colours of
// each pair differ in lightness too, for those who don't see them.
const chartStyle = `
svg { color-scheme: light dark; font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.paper { fill: #ffffff; } .ink { fill: #1b1f24; } .quiet { fill: #57606a; } .line { stroke: #d0d7de; }
.before { fill: #c2410c; } .after { fill: #0e7490; } .spread { stroke: #1b1f24; }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117; } .ink { fill: #e6edf3; } .quiet { fill: #9da7b3; } .line { stroke: #30363d; }
.before { fill: #fb923c; } .after { fill: #22d3ee; } .spread { stroke: #e6edf3; }
}`

// bar is one bar: its length, what it is spread over (0, 0: nothing), and what it says.
type bar struct {
	class     string
	ms        float64
	low, high float64
	text      string
}

// WriteSVG writes the run as a chart: a pair of bars for each source of latency, and
// one for a request alone. It needs no font and no script.
func (r *Run) WriteSVG(w io.Writer) error {
	if r.Sources == nil {
		return fmt.Errorf("the chart is of the sources of latency, which this run didn't measure")
	}
	s := r.Sources
	longest := s.Before
	for _, source := range s.Sources {
		longest = max(longest, source.Before.P90, source.After.P90)
	}
	c := &chart{scale: (chartWidth - chartLabels - chartValues) / longest}
	height := chartTop + (len(s.Sources)+1)*chartRow + chartBottom
	c.open(height, "Latency before and after", s.describe())
	c.text(24, 38, "ink", 21, "Where the latency of the former service went", "font-weight=\"600\"")
	c.text(24, 62, "quiet", 14, "Milliseconds, medians; the thin lines reach from p10 to p90. The model is imitated and answers at once.", "")
	c.legend()
	y := chartTop
	for i, source := range s.Sources {
		name := fmt.Sprintf("%d  %s", i+1, source.Name)
		if source.Simulated {
			name += " *"
		}
		c.row(y, name, published(source.Former), measuredBar("before", source.Before), measuredBar("after", source.After))
		y += chartRow
	}
	c.rule(y - 8)
	c.row(y, "one request alone", published(thousands(s.Former)+" ms"),
		bar{class: "before", ms: s.Before, text: cell(s.Before)}, bar{class: "after", ms: s.After, text: cell(s.After) + "  (direct: " + cell(s.Direct) + ")"})
	y += chartRow + 16
	c.text(24, y, "quiet", 12.5, "* Before is simulated, with the waits and statements of the former service's source.", "")
	c.text(24, y+19, "quiet", 12.5, "One request alone: before, 1, 2, 4 and 5 together; after, a whole request on a warm worker. Published are the former service's own figures.", "")
	c.text(24, y+38, "quiet", 12.5, r.line(), "")
	c.out.WriteString("</svg>\n")
	_, err := w.Write(c.out.Bytes())
	return err
}

// line says what the run was.
func (r *Run) line() string {
	machine := fmt.Sprintf("%s/%s, %d cores", r.Machine.OS, r.Machine.Arch, r.Machine.Cores)
	if r.Machine.CPU != "" {
		machine = r.Machine.CPU + ", " + machine
	}
	text := fmt.Sprintf("claude-api %s, CLI %s, %d rounds, %s; %s", r.Version, r.CLI, r.Rounds, machine, r.At.UTC().Format("2 January 2006"))
	return text
}

// describe is the chart in words, for those who don't see it.
func (s *Sources) describe() string {
	var b strings.Builder
	for _, source := range s.Sources {
		fmt.Fprintf(&b, "%s: %s ms before, %s ms after. ", source.Name, cell(source.Before.P50), cell(source.After.P50))
	}
	fmt.Fprintf(&b, "One request alone: %s ms before, %s ms after, %s ms on the direct path. Published of the former service: %s ms.", cell(s.Before), cell(s.After), cell(s.Direct), thousands(s.Former))
	return b.String()
}

func published(text string) string {
	if text == "" {
		return "not in the published analysis"
	}
	return "published: " + text
}

func measuredBar(class string, f Figures) bar {
	if f.Count == 0 {
		return bar{class: class, text: "nothing"}
	}
	return bar{class: class, ms: f.P50, low: f.P10, high: f.P90, text: cell(f.P50)}
}

type chart struct {
	out   bytes.Buffer
	scale float64
}

func (c *chart) open(height int, title, description string) {
	fmt.Fprintf(&c.out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="title desc">`+"\n",
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&c.out, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n<style>%s\n</style>\n", escaped(title), escaped(description), chartStyle)
	fmt.Fprintf(&c.out, "<rect class=\"paper\" width=\"%d\" height=\"%d\" rx=\"10\"/>\n", chartWidth, height)
}

func (c *chart) text(x, y int, class string, size float64, text, more string) {
	if more != "" {
		more = " " + more
	}
	fmt.Fprintf(&c.out, "<text class=\"%s\" x=\"%d\" y=\"%d\" font-size=\"%g\"%s>%s</text>\n", class, x, y, size, more, escaped(text))
}

func (c *chart) legend() {
	x := chartLabels
	for _, entry := range []struct{ class, text string }{{"before", "before: as the former service did it"}, {"after", "after: as this service does it"}} {
		fmt.Fprintf(&c.out, "<rect class=\"%s\" x=\"%d\" y=\"78\" width=\"14\" height=\"14\" rx=\"3\"/>\n", entry.class, x)
		c.text(x+21, 90, "ink", 13.5, entry.text, "")
		x += 290
	}
}

func (c *chart) rule(y int) {
	fmt.Fprintf(&c.out, "<line class=\"line\" x1=\"24\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", chartWidth-24, y, y)
}

func (c *chart) row(y int, name, note string, bars ...bar) {
	c.text(24, y+16, "ink", 14.5, name, "font-weight=\"500\"")
	c.text(24, y+35, "quiet", 12.5, note, "")
	for i, b := range bars {
		c.bar(y+2+i*(chartBar+4), b)
	}
}

// bar draws a bar, at least so long that it is seen.
func (c *chart) bar(y int, b bar) {
	length := max(b.ms*c.scale, 1.5)
	if b.ms == 0 {
		length = 0
	}
	fmt.Fprintf(&c.out, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>\n", b.class, chartLabels, y, length, chartBar)
	end := max(length, b.high*c.scale)
	if (b.high-b.low)*c.scale >= 2 {
		middle := float64(y) + float64(chartBar)/2
		fmt.Fprintf(&c.out, "<line class=\"spread\" stroke-width=\"1.5\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
			chartLabels+b.low*c.scale, chartLabels+b.high*c.scale, middle, middle)
	}
	fmt.Fprintf(&c.out, "<text class=\"ink\" x=\"%.1f\" y=\"%d\" font-size=\"13.5\">%s</text>\n", chartLabels+end+7, y+13, escaped(b.text))
}

func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
