package simulator

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// citation is the document that an answer cites.
type citation struct {
	index         int  // among the request's documents
	source, title span // raw
}

// document counts a document and notes the first that may be cited.
func (sc *scratch) document(i, j int, b *block) *fault {
	if b.source.empty() {
		return invalid("messages.%d.content.%d.document.source: Field required", i, j)
	}
	r := &sc.req
	var c struct {
		Enabled bool `json:"enabled"`
	}
	// Anything but an object is as good as none.
	_ = json.Unmarshal(b.citations.of(sc.body), &c)
	if c.Enabled && r.cited == nil {
		r.cited = &citation{index: r.documents, source: b.source, title: b.title}
	}
	r.documents++
	return nil
}

// citedChars is how much of a text is cited at most.
const citedChars = 40

// cite gives the JSON of a citation of the request's document, nil when there is
// none: its first words, its first page or its first block.
func (x *exchange) cite() []byte {
	c := x.req.cited
	if c == nil {
		return nil
	}
	var source struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	if err := json.Unmarshal(x.body[c.source.start:c.source.end], &source); err != nil {
		return nil
	}
	title := c.title.of(x.body)
	if len(title) == 0 {
		title = []byte("null")
	}
	var kind, text, from, to string
	end := 1
	switch source.Type {
	case "text":
		kind, from, to = "char_location", "start_char_index", "end_char_index"
		text = string(firstRunes(source.Data, citedChars))
		end = utf8.RuneCountInString(text)
	case "content":
		kind, text, from, to = "content_block_location", "the first block", "start_block_index", "end_block_index"
	default:
		kind, text, from, to = "page_location", "the first page", "start_page_number", "end_page_number"
	}
	start := 0
	if kind == "page_location" { // pages are counted from 1
		start, end = 1, 2
	}
	dst := append([]byte(`{"type":"`), kind...)
	dst = appendQuote(append(dst, `","cited_text":`...), text)
	dst = strconv.AppendInt(append(dst, `,"document_index":`...), int64(c.index), 10)
	dst = append(append(dst, `,"document_title":`...), title...)
	dst = append(append(append(dst, `,"`...), from...), `":`...)
	dst = strconv.AppendInt(dst, int64(start), 10)
	dst = append(append(append(dst, `,"`...), to...), `":`...)
	dst = strconv.AppendInt(dst, int64(end), 10)
	return append(dst, `,"file_id":null}`...)
}

func firstRunes(text string, n int) []rune {
	runes := []rune(text)
	return runes[:min(n, len(runes))]
}
