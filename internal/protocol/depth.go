package protocol

import (
	"bytes"

	"claude-code-api-service/internal/apierror"
)

// maxDepth is how deep arrays and objects may nest in a request. The deepest that
// people send are JSON schemas, of a few dozen levels; what reads a request, here
// and behind us, may use memory or its stack for each level.
const maxDepth = 200

// Shallow refuses a JSON document that nests deeper than maxDepth. It needs not be
// valid: decoders say what is wrong with it. An error is an apierror.Error.
func Shallow(doc []byte) error {
	// Most documents haven't as many brackets, and counting is faster than reading.
	if bytes.Count(doc, []byte{'{'})+bytes.Count(doc, []byte{'['}) <= maxDepth {
		return nil
	}
	depth := 0
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case '{', '[':
			if depth++; depth > maxDepth {
				return apierror.Invalid("", "the request nests deeper than %d levels", maxDepth)
			}
		case '}', ']':
			depth--
		case '"':
			i = stringEnd(doc, i+1)
		}
	}
	return nil
}

// stringEnd gives where the string whose inside begins at i ends: the index of the
// closing quote, or the document's length.
func stringEnd(doc []byte, i int) int {
	for i < len(doc) {
		n := bytes.IndexByte(doc[i:], '"')
		if n < 0 {
			break
		}
		// A quote is the string's own if an odd number of backslashes is before it.
		escapes := 0
		for at := i + n - 1; at >= i && doc[at] == '\\'; at-- {
			escapes++
		}
		if i += n; escapes%2 == 0 {
			return i
		}
		i++
	}
	return len(doc)
}
