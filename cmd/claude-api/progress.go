package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/x/term"
)

// progressBar shows how far long work is, in one line of standard error, where that is a
// terminal. It isn't safe for concurrent use.
type progressBar struct {
	out   *os.File // nil: nobody looks
	begun time.Time
	shown bool
}

func newProgressBar() *progressBar {
	p := &progressBar{begun: time.Now()}
	if isTerminal(os.Stderr) && os.Getenv("TERM") != "dumb" {
		p.out = os.Stderr
	}
	return p
}

// show shows that done of total are done, with what there is to say besides.
func (p *progressBar) show(done, total int, besides string) {
	if p.out == nil {
		return
	}
	width, _, err := term.GetSize(p.out.Fd())
	if err != nil || width <= 0 {
		width = 80
	}
	p.shown = true
	fmt.Fprint(p.out, "\r\x1b[K"+progressLine(done, total, besides, time.Since(p.begun), width-1))
}

// clear takes the line away again, for what is printed next.
func (p *progressBar) clear() {
	if p.out != nil && p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	p.shown = false
}

// mostBar is the widest bar, in letters.
const mostBar = 40

// progressLine writes the line, at most width letters of it: the bar gives way first.
func progressLine(done, total int, besides string, took time.Duration, width int) string {
	text := fmt.Sprintf(" %d/%d", done, total)
	if besides != "" {
		text += "  " + besides
	}
	text += "  " + took.Truncate(time.Second).String()
	bar := ""
	if room := min(width-len(text)-2, mostBar); room >= 4 && total > 0 {
		full := room * min(max(done, 0), total) / total
		bar = "[" + strings.Repeat("#", full) + strings.Repeat("-", room-full) + "]"
	}
	if line := bar + text; len(line) <= width {
		return line
	}
	return text[:max(0, min(width, len(text)))]
}
