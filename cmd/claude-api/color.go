package main

import (
	"os"
	"strings"

	"github.com/charmbracelet/x/term"
)

// When the output has colours.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// color is what --color says, for the whole program: its errors have colours too. It is
// set before anything is printed.
var color = colorAuto

// colors says whether a file gets colours: on a terminal, unless NO_COLOR (no-color.org)
// or a TERM that knows none says otherwise.
func colors(f *os.File) bool {
	switch color {
	case colorAlways:
		return true
	case colorNever:
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(f)
}

func isTerminal(f *os.File) bool { return term.IsTerminal(f.Fd()) }

// style is an SGR sequence (ECMA-48); "" is none.
type style string

// The styles: of the sixteen colours, which every terminal shows as its user has chosen.
const (
	styleNone   style = ""
	styleBold   style = "1"
	styleFaint  style = "2"
	styleBad    style = "31"
	styleGood   style = "32"
	styleUneasy style = "33"
)

// styled gives a text in a style, where the file gets colours.
func styled(f *os.File, s style, text string) string {
	if s == styleNone || !colors(f) {
		return text
	}
	return s.wrap(text)
}

func (s style) wrap(text string) string {
	if s == styleNone {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// condition is a word that says how something is. In a table it has a colour.
type condition string

// style gives its colour.
func (s condition) style() style {
	switch strings.ToLower(string(s)) {
	case "ok", "completed", "ready", "available", "closed":
		return styleGood
	case "failed", "down", "refused", "open":
		return styleBad
	case "degraded", "cancelled", "queued", "starting", "draining", "half_open", "not ready":
		return styleUneasy
	case "off":
		return styleFaint
	}
	return styleNone
}
