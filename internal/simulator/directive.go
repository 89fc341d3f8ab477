package simulator

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// directives are what a request asks of the simulator; the package's
// documentation lists them.
type directives struct {
	delay, interval time.Duration
	tokens          int
	text            []byte
	hasText         bool
	echoSystem      bool
	think           bool
	tools           []toolCall
	stop            string
	status          int
	retryAfter      int // -1 when not given, as the counts below
	times           int
	errorAfter      int
	cutAfter        int
	hangAfter       int
	hang            bool
}

// toolCall is a call that a directive asks for; input is nil where the schema
// is to be followed.
type toolCall struct {
	name   string
	input  []byte
	server bool // the API runs it itself
}

const (
	// maxTokens bounds the directive tokens, and with it an answer's memory.
	maxTokens = 100_000
	// maxDelay bounds delay and interval.
	maxDelay = time.Hour
)

func (s *Simulator) defaultDirectives() directives {
	return directives{
		delay: s.options.Delay, interval: s.options.Interval, tokens: s.options.Tokens,
		retryAfter: -1, times: -1, errorAfter: -1, cutAfter: -1, hangAfter: -1,
	}
}

// then separates what is asked of the answer to a prompt from what is asked of the
// answers to the results of the tools that it calls.
const then = "[[then]]"

// step gives the nth part of a prompt, nothing behind the last one; without
// separators all of it is the first one.
func step(text []byte, n int) []byte {
	for bytes.Contains(text, []byte(then)) {
		end := topLevelThen(text)
		if end < 0 {
			break
		}
		if n == 0 {
			return text[:end]
		}
		text, n = text[end+len(then):], n-1
	}
	if n > 0 {
		return nil
	}
	return text
}

// topLevelThen finds a separator that isn't within a directive, as in a prompt that
// is a tool's input.
func topLevelThen(text []byte) int {
	for at := 0; ; {
		start := bytes.Index(text[at:], []byte("[["))
		if start < 0 {
			return -1
		}
		at += start
		if bytes.HasPrefix(text[at:], []byte(then)) {
			return at
		}
		length := insideBrackets(text[at+2:])
		if length < 0 {
			return -1
		}
		if isDirective(text[at+2 : at+2+length]) {
			at += length + 2
		}
		at += 2
	}
}

// insideBrackets gives the length of what double brackets hold, which may hold
// others; of an unpaired one all up to the next end.
func insideBrackets(text []byte) int {
	first := bytes.Index(text, []byte("]]"))
	for depth, at := 0, 0; ; {
		end := bytes.Index(text[at:], []byte("]]"))
		if end < 0 {
			return first
		}
		if start := bytes.Index(text[at:at+end], []byte("[[")); start >= 0 {
			depth++
			at += start + 2
			continue
		}
		at += end
		if depth == 0 {
			return at
		}
		depth--
		at += 2
	}
}

// scan reads the directives in a text and appends to dst the text without them.
func (d *directives) scan(dst, text []byte) ([]byte, *fault) {
	for {
		start := bytes.Index(text, []byte("[["))
		if start < 0 {
			return append(dst, text...), nil
		}
		length := insideBrackets(text[start+2:])
		if length < 0 {
			return append(dst, text...), nil
		}
		inside := text[start+2 : start+2+length]
		if !isDirective(inside) {
			dst = append(dst, text[:start+2]...)
			text = text[start+2:]
			continue
		}
		if f := d.read(inside); f != nil {
			return dst, f
		}
		dst = append(dst, text[:start]...)
		text = text[start+2+length+2:]
	}
}

func isDirective(inside []byte) bool {
	word, _, _ := bytes.Cut(bytes.TrimSpace(inside), []byte(" "))
	name, _, _ := bytes.Cut(word, []byte("="))
	switch string(name) {
	case "delay", "interval", "tokens", "text", "echo-system", "think", "tool", "input", "stop",
		"error", "retry-after", "times", "error-after", "cut-after", "hang-after", "hang":
		return true
	}
	return false
}

// read reads directives with spaces between them.
func (d *directives) read(inside []byte) *fault {
	for {
		inside = bytes.TrimLeft(inside, " \t\n")
		if len(inside) == 0 {
			return nil
		}
		// text and input take everything that follows them.
		if rest, ok := bytes.CutPrefix(inside, []byte("text=")); ok {
			d.text, d.hasText = rest, true
			return nil
		}
		if rest, ok := bytes.CutPrefix(inside, []byte("input=")); ok {
			return d.setInput(rest)
		}
		var word []byte
		if at := bytes.IndexAny(inside, " \t\n"); at >= 0 {
			word, inside = inside[:at], inside[at:]
		} else {
			word, inside = inside, nil
		}
		name, value, _ := strings.Cut(string(word), "=")
		if !d.set(name, value) {
			return invalid("x-simulator: %q isn't a directive of the simulator", word)
		}
	}
}

func (d *directives) setInput(input []byte) *fault {
	if len(d.tools) == 0 {
		return invalid("x-simulator: input must follow the tool that it is for")
	}
	input = bytes.TrimSpace(input)
	if !validObject(input) {
		return invalid("x-simulator: input must be a JSON object")
	}
	d.tools[len(d.tools)-1].input = input
	return nil
}

func (d *directives) set(name, value string) bool {
	switch name {
	case "delay":
		return setDuration(&d.delay, value)
	case "interval":
		return setDuration(&d.interval, value)
	case "tokens":
		return setNumber(&d.tokens, value, 1, maxTokens)
	case "echo-system":
		d.echoSystem = true
	case "think":
		d.think = true
	case "tool":
		d.tools = append(d.tools, toolCall{name: value})
		return value != ""
	case "stop":
		d.stop = value
		return value != ""
	case "error":
		return setNumber(&d.status, value, 400, 599)
	case "retry-after":
		return setNumber(&d.retryAfter, value, 0, 86_400)
	case "times":
		return setNumber(&d.times, value, 0, 1_000_000)
	case "error-after":
		return setNumber(&d.errorAfter, value, 0, maxTokens)
	case "cut-after":
		return setNumber(&d.cutAfter, value, 0, maxTokens)
	case "hang-after":
		return setNumber(&d.hangAfter, value, 0, maxTokens)
	case "hang":
		d.hang = true
	default:
		return false
	}
	return true
}

func setNumber(to *int, value string, least, most int) bool {
	n, err := strconv.Atoi(value)
	*to = n
	return err == nil && n >= least && n <= most
}

func setDuration(to *time.Duration, value string) bool {
	n, err := time.ParseDuration(value)
	*to = n
	return err == nil && n >= 0 && n <= maxDelay
}
