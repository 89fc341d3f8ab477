package simulator

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json"
)

const (
	// imageTokens and documentTokens are flat: the API counts pixels and pages,
	// and nothing here decodes them.
	imageTokens    = 1_500
	documentTokens = 3_000
)

func (sc *scratch) messages() *fault {
	if sc.dec.PeekKind() != '[' {
		return invalid("messages: Input should be a valid list")
	}
	n := 0
	f := sc.array(func(i int) *fault {
		n++
		return sc.message(i)
	})
	if f == nil && n == 0 {
		f = invalid("messages: at least one message is required")
	}
	return f
}

// message reads one message. The role may stand behind the content, so what
// depends on it is done at the end.
func (sc *scratch) message(i int) *fault {
	if sc.dec.PeekKind() != '{' {
		return invalid("messages.%d: Input should be an object", i)
	}
	r := &sc.req
	sc.turn.reset()
	var role byte
	hasContent := false
	first := len(r.turnUnits)
	f := sc.object(func(name []byte) *fault {
		switch string(name) {
		case "role":
			raw, f := sc.value()
			if f != nil {
				return f
			}
			switch string(raw.of(sc.body)) {
			// The CLI sends a note of role system on newer models.
			case `"user"`, `"assistant"`, `"system"`:
				role = sc.body[raw.start+1]
			default:
				return invalid("messages.%d.role: Input should be 'user' or 'assistant'", i)
			}
			return nil
		case "content":
			hasContent = true
			return sc.content(i)
		}
		if sc.open {
			_, f := sc.value()
			return f
		}
		return invalid("messages.%d.%s: Extra inputs are not permitted", i, bytes.Clone(name))
	})
	switch {
	case f != nil:
		return f
	case role == 0:
		return invalid("messages.%d.role: Field required", i)
	case !hasContent:
		return invalid("messages.%d.content: Field required", i)
	}
	for u := first; u < len(r.turnUnits); u++ {
		r.turnUnits[u].role = role
	}
	if role != 's' {
		r.lastRole = role
	}
	switch role {
	case 'a':
		r.answers++
	case 'u':
		r.lastUser, sc.turn = sc.turn, r.lastUser
		if len(r.lastUser.results) == 0 {
			r.prompt, r.answers = append(r.prompt[:0], r.lastUser.texts...), 0
		}
	}
	return nil
}

func (sc *scratch) content(i int) *fault {
	r := &sc.req
	switch sc.dec.PeekKind() {
	case '"':
		raw, f := sc.value()
		if f != nil {
			return f
		}
		text := sc.unquote(raw)
		if text.empty() {
			return invalid("messages.%d: all messages must have non-empty content except for the optional final assistant message", i)
		}
		sc.turn.texts = append(sc.turn.texts, text)
		r.turnUnits = append(r.turnUnits, unit{raw: raw, bytes: text.end - text.start})
		return nil
	case '[':
		n := 0
		f := sc.array(func(j int) *fault {
			n++
			return sc.block(i, j)
		})
		if f == nil && n == 0 {
			f = invalid("messages.%d: all messages must have non-empty content except for the optional final assistant message", i)
		}
		return f
	}
	return invalid("messages.%d.content: Input should be a valid string or list", i)
}

// block holds the members of a content block that the simulator reads, as raw
// JSON.
type block struct {
	kind, text, thinking, content, id, resultOf span
	source, citations, title                    span
	raw                                         span // the whole block
	mark                                        mark
}

// readBlock reads the object that comes next.
func (sc *scratch) readBlock(b *block) *fault {
	b.raw.start = sc.objectStart()
	f := sc.object(func(name []byte) *fault {
		var ignored span
		to := &ignored
		switch string(name) {
		case "type":
			to = &b.kind
		case "text":
			to = &b.text
		case "thinking":
			to = &b.thinking
		case "content":
			to = &b.content
		case "id":
			to = &b.id
		case "tool_use_id":
			to = &b.resultOf
		case "source":
			to = &b.source
		case "citations":
			to = &b.citations
		case "title":
			to = &b.title
		case "cache_control":
			return sc.cacheControl(&b.mark)
		}
		raw, f := sc.value()
		*to = raw
		return f
	})
	b.raw.end = int(sc.dec.InputOffset())
	return f
}

// objectStart finds where the object begins that comes next.
func (sc *scratch) objectStart() int {
	at := int(sc.dec.InputOffset())
	return at + bytes.IndexByte(sc.body[at:], '{')
}

// cacheControl reads the value of a cache_control and where the member is.
func (sc *scratch) cacheControl(m *mark) *fault {
	m.set = sc.dec.PeekKind() == '{'
	before := sc.before
	raw, f := sc.value()
	if f != nil {
		return f
	}
	m.at = span{before, raw.end}
	if m.set {
		m.hour = sc.hour(raw)
		sc.req.marked = true
	}
	return nil
}

// hour says whether a cache_control asks for an entry that lives an hour instead of
// five minutes.
func (sc *scratch) hour(control span) bool {
	return string(sc.within(control, "ttl").of(sc.body)) == `"1h"`
}

func (sc *scratch) block(i, j int) *fault {
	if sc.dec.PeekKind() != '{' {
		return invalid("messages.%d.content.%d: Input should be an object", i, j)
	}
	r := &sc.req
	var b block
	if f := sc.readBlock(&b); f != nil {
		return f
	}
	raw := b.raw
	u := unit{raw: raw, mark: b.mark}
	switch string(b.kind.of(sc.body)) {
	case "":
		return invalid("messages.%d.content.%d.type: Field required", i, j)
	case `"text"`:
		if !isString(b.text, sc.body) {
			return invalid("messages.%d.content.%d.text: Field required", i, j)
		}
		text := sc.unquote(b.text)
		if text.empty() {
			return invalid("messages: text content blocks must be non-empty")
		}
		sc.turn.texts = append(sc.turn.texts, text)
		u.bytes = text.end - text.start
	case `"thinking"`:
		u.bytes = b.thinking.end - b.thinking.start
	case `"image"`:
		u.flat = imageTokens
	case `"document"`:
		u.flat = documentTokens
		if f := sc.document(i, j, &b); f != nil {
			return f
		}
	case `"tool_use"`:
		if !isString(b.id, sc.body) {
			return invalid("messages.%d.content.%d.id: Field required", i, j)
		}
		r.uses = append(r.uses, sc.unquote(b.id))
		u.bytes = raw.end - raw.start
	case `"tool_result"`:
		return sc.toolResult(i, j, b, u)
	default:
		u.bytes = raw.end - raw.start
	}
	r.turnUnits = append(r.turnUnits, u)
	return nil
}

func isString(raw span, body []byte) bool { return !raw.empty() && body[raw.start] == '"' }

func (sc *scratch) toolResult(i, j int, b block, u unit) *fault {
	r := &sc.req
	if !isString(b.resultOf, sc.body) {
		return invalid("messages.%d.content.%d.tool_use_id: Field required", i, j)
	}
	id := sc.unquote(b.resultOf).of(sc.arena)
	at := slices.IndexFunc(r.uses, func(use span) bool { return bytes.Equal(use.of(sc.arena), id) })
	if at < 0 {
		return invalid("messages.%d.content.%d: unexpected `tool_use_id` found in `tool_result` blocks: %s. "+
			"Each `tool_result` block must have a corresponding `tool_use` block in the previous message.", i, j, id)
	}
	r.uses = slices.Delete(r.uses, at, at+1)

	start := len(sc.arena)
	switch {
	case b.content.empty():
	case sc.body[b.content.start] == '"':
		sc.unquote(b.content)
	default:
		var parts []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		if err := json.Unmarshal(b.content.of(sc.body), &parts); err != nil {
			return invalid("messages.%d.content.%d.content: Input should be a valid string or list", i, j)
		}
		for _, p := range parts {
			switch p.Type {
			case "image":
				u.flat += imageTokens
			case "document":
				u.flat += documentTokens
			}
			sc.arena = append(sc.arena, p.Text...)
		}
	}
	text := span{start, len(sc.arena)}
	u.bytes = text.end - text.start
	sc.turn.results = append(sc.turn.results, text)
	r.turnUnits = append(r.turnUnits, u)
	return nil
}

func (sc *scratch) system() *fault {
	r := &sc.req
	switch sc.dec.PeekKind() {
	case '"':
		raw, f := sc.value()
		if f != nil {
			return f
		}
		text := sc.unquote(raw)
		r.system = append(r.system, text)
		r.systemUnits = append(r.systemUnits, unit{raw: raw, bytes: text.end - text.start})
		return nil
	case '[':
		return sc.array(sc.systemBlock)
	}
	return invalid("system: Input should be a valid string or list")
}

func (sc *scratch) systemBlock(i int) *fault {
	if sc.dec.PeekKind() != '{' {
		return invalid("system.%d: Input should be an object", i)
	}
	r := &sc.req
	var b block
	if f := sc.readBlock(&b); f != nil {
		return f
	}
	if string(b.kind.of(sc.body)) != `"text"` || !isString(b.text, sc.body) {
		return invalid("system.%d: Input should be a text block", i)
	}
	text := sc.unquote(b.text)
	r.system = append(r.system, text)
	r.systemUnits = append(r.systemUnits, unit{raw: b.raw, bytes: text.end - text.start, mark: b.mark})
	return nil
}

func (sc *scratch) tools() *fault {
	if sc.dec.PeekKind() != '[' {
		return invalid("tools: Input should be a valid list")
	}
	return sc.array(func(i int) *fault {
		if sc.dec.PeekKind() != '{' {
			return invalid("tools.%d: Input should be an object", i)
		}
		r := &sc.req
		var t tool
		var u unit
		named, custom := false, true
		u.raw.start = sc.objectStart()
		f := sc.object(func(name []byte) *fault {
			at := string(name)
			if at == "cache_control" {
				return sc.cacheControl(&u.mark)
			}
			kind := sc.dec.PeekKind()
			raw, f := sc.value()
			if f != nil {
				return f
			}
			switch {
			case at == "name" && kind == '"':
				t.name, named = sc.unquote(raw), true
			case at == "input_schema" && kind == '{':
				t.schema = raw
			case at == "type":
				if custom = string(raw.of(sc.body)) == `"custom"`; !custom {
					t.kind = raw
				}
			case at == "strict":
				t.strict = kind == 't'
			}
			return nil
		})
		switch {
		case f != nil:
			return f
		case !named:
			return invalid("tools.%d.name: Field required", i)
		case custom && t.schema.empty():
			return invalid("tools.%d.input_schema: Field required", i)
		}
		u.raw.end = int(sc.dec.InputOffset())
		u.bytes = u.raw.end - u.raw.start
		r.tools = append(r.tools, t)
		r.toolUnits = append(r.toolUnits, u)
		return nil
	})
}

func (sc *scratch) stopSequences() *fault {
	if sc.dec.PeekKind() == 'n' {
		_, f := sc.value()
		return f
	}
	if sc.dec.PeekKind() != '[' {
		return invalid("stop_sequences: Input should be a valid list")
	}
	return sc.array(func(i int) *fault {
		kind := sc.dec.PeekKind()
		raw, f := sc.value()
		if f != nil {
			return f
		}
		if kind != '"' {
			return invalid("stop_sequences.%d: Input should be a valid string", i)
		}
		text := sc.unquote(raw)
		if len(bytes.TrimSpace(text.of(sc.arena))) == 0 {
			return invalid("stop_sequences: each stop sequence must contain non-whitespace")
		}
		sc.req.stops = append(sc.req.stops, text)
		return nil
	})
}
