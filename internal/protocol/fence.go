package protocol

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// JSONInstruction is what the JSON mode of OpenAI's APIs adds to the system
// prompt. The Messages API has no such mode, and newer models take no beginning
// of the answer that would lead them into it. A Fence takes off what the model
// puts around its answer all the same.
const JSONInstruction = "Answer with one valid JSON object and nothing else: no text before or behind it, and no Markdown code fence around it."

// Fence takes a Markdown code fence off around a text that comes in pieces: the
// line that opens it (three backticks, a language, a line break) and the three
// backticks that close it, with the white space around them. A text without an
// opening fence passes as it is. It holds back only what may still be part of a
// fence. However a text is cut into pieces, what comes out is the same. The zero
// value is ready for use.
type Fence struct {
	state fenceState
	held  []byte // what may be part of a fence
}

type fenceState int

const (
	fenceLead  fenceState = iota // white space before the text
	fenceTicks                   // the backticks that open a fence
	fenceInfo                    // the language behind them
	fenceGap                     // white space behind the opening line
	fenceNone                    // there is no fence: all passes
	fenceBody                    // inside
	fenceBlank                   // white space that a closing fence may follow
	fenceClose                   // the backticks that close it
	fenceEnd                     // white space behind them
)

const (
	fenceMark = "```"
	// maxFenceBlank and maxFenceInfo bound what is held back beside the backticks,
	// in bytes.
	maxFenceBlank = 16
	maxFenceInfo  = 16
)

// Write appends to dst what of the text passes.
func (f *Fence) Write(dst, text []byte) []byte {
	for i, b := range text {
		if f.state == fenceNone {
			return append(dst, text[i:]...)
		}
		dst = f.next(dst, b)
	}
	return dst
}

// Close appends to dst what was held back and is no fence after all.
func (f *Fence) Close(dst []byte) []byte {
	closed := f.state == fenceEnd ||
		f.state == fenceClose && bytes.HasSuffix(f.held, []byte(fenceMark)) ||
		// Fences with nothing in between, or an opening one alone.
		f.state == fenceGap
	if !closed {
		dst = append(dst, f.held...)
	}
	f.held = nil
	return dst
}

// WriteQuoted gives what of a JSON string passes, as a JSON string.
func (f *Fence) WriteQuoted(text jsontext.Value) jsontext.Value {
	return AppendText(nil, string(f.Write(nil, []byte(Unquote(text)))))
}

// CloseQuoted gives what was held back and is no fence after all, as a JSON
// string.
func (f *Fence) CloseQuoted() jsontext.Value { return AppendText(nil, string(f.Close(nil))) }

// Unfence takes a fence off around a whole text, the inside of a JSON string.
func Unfence(inner []byte) []byte {
	var f Fence
	text := f.Write(nil, []byte(Unquote(append(append([]byte{'"'}, inner...), '"'))))
	return Inner(AppendText(nil, string(f.Close(text))))
}

func (f *Fence) next(dst []byte, b byte) []byte {
	switch f.state {
	case fenceLead:
		switch {
		case isBlank(b) && len(f.held) < maxFenceBlank:
			return f.hold(dst, b, fenceLead)
		case b == '`':
			f.hold(nil, b, fenceTicks)
			return f.countTicks(dst, fenceInfo)
		}
		return f.flush(dst, b, fenceNone)
	case fenceTicks:
		if b == '`' {
			f.hold(nil, b, fenceTicks)
			return f.countTicks(dst, fenceInfo)
		}
		return f.flush(dst, b, fenceNone)
	case fenceInfo:
		return f.info(dst, b)
	case fenceGap:
		if isBlank(b) {
			return dst
		}
		f.state = fenceBody
		return f.body(dst, b)
	case fenceBody, fenceBlank:
		return f.body(dst, b)
	case fenceClose:
		switch {
		case b == '`' && !bytes.HasSuffix(f.held, []byte(fenceMark)):
			return f.hold(dst, b, fenceClose)
		case isBlank(b) && bytes.HasSuffix(f.held, []byte(fenceMark)):
			return f.hold(dst, b, fenceEnd)
		}
	case fenceEnd:
		if isBlank(b) && len(f.held) < 2*maxFenceBlank+len(fenceMark) {
			return f.hold(dst, b, fenceEnd)
		}
	}
	// It was no closing fence.
	dst = append(dst, f.held...)
	f.held, f.state = f.held[:0], fenceBody
	return f.body(dst, b)
}

// countTicks goes on to the next state with the third backtick.
func (f *Fence) countTicks(dst []byte, next fenceState) []byte {
	if bytes.HasSuffix(f.held, []byte(fenceMark)) {
		f.state = next
	}
	return dst
}

// info reads the language of an opening fence, which a line break ends, or at
// once the JSON.
func (f *Fence) info(dst []byte, b byte) []byte {
	switch {
	case b == '\n':
		f.held, f.state = f.held[:0], fenceGap
		return dst
	case b == '{' || b == '[':
		f.held, f.state = f.held[:0], fenceBody
		return f.body(dst, b)
	case b == '`' || len(f.held) >= maxFenceBlank+len(fenceMark)+maxFenceInfo:
		return f.flush(dst, b, fenceNone)
	}
	return f.hold(dst, b, fenceInfo)
}

func (f *Fence) body(dst []byte, b byte) []byte {
	switch {
	case b == '`':
		return f.hold(dst, b, fenceClose)
	case !isBlank(b):
		dst = append(dst, f.held...)
		f.held, f.state = f.held[:0], fenceBody
		return append(dst, b)
	case len(f.held) == maxFenceBlank:
		dst = append(dst, f.held[0])
		f.held = append(f.held[:0], f.held[1:]...)
	}
	return f.hold(dst, b, fenceBlank)
}

func (f *Fence) hold(dst []byte, b byte, state fenceState) []byte {
	f.held, f.state = append(f.held, b), state
	return dst
}

func (f *Fence) flush(dst []byte, b byte, state fenceState) []byte {
	dst = append(append(dst, f.held...), b)
	f.held, f.state = f.held[:0], state
	return dst
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }
