package trace

import (
	"encoding/hex"
	"net/http"
	"strings"
)

// Limits of what is taken from a caller. The recommendations ask for 512 characters of
// tracestate and 8,192 of baggage at least.
const (
	maxState      = 512
	maxStates     = 32
	maxBaggage    = 8_192
	maxBaggageSet = 64
)

// Parse takes a caller's context from a header: a Span whose ID is that of the caller's;
// nil where there is none, or none that is well formed. A tracestate or baggage that
// isn't is left out alone.
func Parse(h http.Header) *Span {
	values := h[HeaderParent]
	if len(values) != 1 {
		return nil
	}
	s := ParseParent(values[0])
	if s == nil {
		return nil
	}
	s.State, s.Baggage = state(h[HeaderState]), baggage(h[HeaderBaggage])
	return s
}

// ParseParent reads a traceparent; nil: it is malformed.
func ParseParent(text string) *Span {
	text = strings.Trim(text, " \t")
	// A later version may have more behind what it has in common with 00.
	if len(text) < parentSize || len(text) > parentSize && (text[:2] == "00" || text[parentSize] != '-') || text[:2] == "ff" {
		return nil
	}
	if text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return nil
	}
	s := &Span{}
	var version, flags [1]byte
	for _, part := range [...]struct {
		into []byte
		text string
	}{{version[:], text[:2]}, {s.Trace[:], text[3:35]}, {s.ID[:], text[36:52]}, {flags[:], text[53:55]}} {
		if !lower(part.text) {
			return nil
		}
		if _, err := hex.Decode(part.into, []byte(part.text)); err != nil {
			return nil
		}
	}
	if s.Trace == (ID{}) || s.ID == (SpanID{}) {
		return nil
	}
	s.Sampled = flags[0]&1 != 0
	return s
}

// lower says that a text has no capital letters, which hexadecimal numbers here don't.
func lower(text string) bool {
	for i := range len(text) {
		if text[i] >= 'A' && text[i] <= 'Z' {
			return false
		}
	}
	return true
}

// state gives what a tracestate says, "" where it is malformed: its lines in one.
func state(lines []string) string {
	joined := strings.Join(lines, ",")
	if joined == "" || len(joined) > maxState {
		return ""
	}
	var members []string
	for member := range strings.SplitSeq(joined, ",") {
		member = strings.Trim(member, " \t")
		if member == "" {
			continue // allowed
		}
		name, value, found := strings.Cut(member, "=")
		if !found || !stateKey(name) || !stateValue(value) {
			return ""
		}
		members = append(members, member)
	}
	if len(members) > maxStates {
		return ""
	}
	return strings.Join(members, ",")
}

// stateKey says that a tracestate may have a member of that name.
func stateKey(name string) bool {
	if name == "" || len(name) > 256 {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && strings.IndexByte("_-*/@", c) >= 0:
		default:
			return false
		}
	}
	return true
}

func stateValue(value string) bool {
	if value == "" || len(value) > 256 {
		return false
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == ',' || c == '=' {
			return false
		}
	}
	return value[len(value)-1] != ' '
}

// baggage gives what a baggage header says, "" where it is malformed: its lines in one.
func baggage(lines []string) string {
	joined := strings.Join(lines, ",")
	if joined == "" || len(joined) > maxBaggage || strings.Count(joined, ",") >= maxBaggageSet {
		return ""
	}
	for member := range strings.SplitSeq(joined, ",") {
		name, value, found := strings.Cut(member, "=")
		if !found || !token(strings.Trim(name, " \t")) || !octets(value) {
			return ""
		}
	}
	return joined
}

// token is one of RFC 9110.
func token(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return name != ""
}

// octets are a value of baggage, with its properties.
func octets(value string) bool {
	for i := range len(value) {
		if c := value[i]; (c < ' ' && c != '\t') || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
