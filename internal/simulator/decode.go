package simulator

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// span is a part of a buffer: from start up to but not including end.
type span struct{ start, end int }

func (s span) of(b []byte) []byte { return b[s.start:s.end] }
func (s span) empty() bool        { return s.start == s.end }

// request is what the simulator reads of a Messages request. Spans named raw
// are JSON in the body; texts are spans of the arena, unquoted.
type request struct {
	model     span // text
	hasModel  bool
	messages  bool
	stream    bool
	maxTokens int64 // -1 when absent
	// temperature, topP and topK are the numbers as they came, empty when absent.
	temperature, topP, topK span // raw
	system                  []span
	tools                   []tool
	choice                  span // raw
	thinking                span // raw
	stops                   []span
	format                  span // raw; empty unless the answer's form is asked for
	effort                  span // raw
	lastUser                turn
	prompt                  []span // texts of the last user message that holds no results of tools
	answers                 int    // messages of the assistant behind that
	lastRole                byte   // first letter of the last message's role, notes of the system left out
	documents               int
	cited                   *citation // the first document that may be cited
	uses                    []span    // ids of tool_use blocks still without a result
	autoCache               mark      // a cache_control of the whole request
	// units are what the model reads, in the API's order for caching: tools,
	// then system, then messages.
	toolUnits, systemUnits, turnUnits []unit
	marked                            bool // some unit has cache_control
}

// unit is a piece of the prompt that can end a cached prefix.
type unit struct {
	raw   span // the block; for a message whose content is a string, that string
	role  byte // first letter of the message's role, 0 outside of messages
	bytes int  // of text
	flat  int  // tokens that don't come from text
	mark  mark // its cache_control
}

// mark is a cache_control: the end of a prefix to be cached.
type mark struct {
	set  bool // it is there, and isn't null
	hour bool // the entry lives an hour
	at   span // that member, with the comma in front of it if there is one
}

type tool struct {
	name   span // text
	schema span // raw
	kind   span // raw; empty for a client's own tool
	strict bool
}

// turn is one message.
type turn struct {
	texts   []span
	results []span // texts of tool_result blocks
}

func (t *turn) reset() { t.texts, t.results = t.texts[:0], t.results[:0] }

// scratch is the memory of one request, used again by later ones.
type scratch struct {
	body   []byte
	arena  []byte // unquoted texts
	out    []byte
	text   []byte // the answer's text
	source bytes.Buffer
	dec    jsontext.Decoder
	req    request
	turn   turn
	// open says that members which the API doesn't know are accepted: the
	// request asks for beta features, and those aren't listed here.
	open bool
	// before is the end of what stood in front of the member that object hands
	// out.
	before int
}

func newScratch() *scratch {
	return &scratch{arena: make([]byte, 0, 2<<10), out: make([]byte, 0, 8<<10)}
}

func (sc *scratch) reset() {
	r := &sc.req
	sc.arena, sc.out, sc.text = sc.arena[:0], sc.out[:0], sc.text[:0]
	r.lastUser.reset()
	*r = request{
		maxTokens: -1,
		system:    r.system[:0], tools: r.tools[:0], stops: r.stops[:0], lastUser: r.lastUser, prompt: r.prompt[:0], uses: r.uses[:0],
		toolUnits: r.toolUnits[:0], systemUnits: r.systemUnits[:0], turnUnits: r.turnUnits[:0],
	}
}

// decode reads the body into req.
func (sc *scratch) decode(open bool) *fault {
	sc.open = open
	sc.source = *bytes.NewBuffer(sc.body)
	sc.dec.Reset(&sc.source)
	if sc.dec.PeekKind() != '{' {
		return sc.syntax()
	}
	f := sc.object(sc.member)
	if f != nil {
		return f
	}
	if _, err := sc.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return invalid("The request body is not valid JSON: data after the object")
	}
	r := &sc.req
	switch {
	case !r.hasModel:
		return invalid("model: Field required")
	case !r.messages:
		return invalid("messages: Field required")
	case len(r.uses) > 0:
		return invalid("messages: `tool_use` ids were found without `tool_result` blocks immediately after: %s. "+
			"Each `tool_use` block must have a corresponding `tool_result` block in the next message.", r.uses[0].of(sc.arena))
	}
	return nil
}

func (sc *scratch) syntax() *fault {
	// Reading again gives the reason.
	_, err := sc.dec.ReadValue()
	if err == nil {
		return invalid("The request body must be a JSON object")
	}
	return invalid("The request body is not valid JSON: %s", err)
}

// object reads an object and calls member with each name, without quotes, when
// its value is the next to read. It expects that the next value is an object.
func (sc *scratch) object(member func(name []byte) *fault) *fault {
	if _, err := sc.dec.ReadToken(); err != nil {
		return sc.syntax()
	}
	for sc.dec.PeekKind() == '"' {
		sc.before = int(sc.dec.InputOffset())
		name, err := sc.dec.ReadValue()
		if err != nil {
			return sc.syntax()
		}
		// A name with escapes is none that the API has, so it may stay quoted.
		if f := member(name[1 : len(name)-1]); f != nil {
			return f
		}
	}
	if _, err := sc.dec.ReadToken(); err != nil {
		return sc.syntax()
	}
	return nil
}

// array reads an array and calls item with each index when the value is the
// next to read.
func (sc *scratch) array(item func(i int) *fault) *fault {
	if _, err := sc.dec.ReadToken(); err != nil {
		return sc.syntax()
	}
	for i := 0; ; i++ {
		switch sc.dec.PeekKind() {
		case ']':
			_, _ = sc.dec.ReadToken() // just seen
			return nil
		case 0:
			return sc.syntax()
		}
		if f := item(i); f != nil {
			return f
		}
	}
}

// value reads the next value and says where it is.
func (sc *scratch) value() (span, *fault) {
	v, err := sc.dec.ReadValue()
	if err != nil {
		return span{}, sc.syntax()
	}
	end := int(sc.dec.InputOffset())
	return span{end - len(v), end}, nil
}

// unquote puts a JSON string into the arena.
func (sc *scratch) unquote(raw span) span {
	start := len(sc.arena)
	sc.arena, _ = jsontext.AppendUnquote(sc.arena, raw.of(sc.body)) // the decoder has checked it
	return span{start, len(sc.arena)}
}

func (sc *scratch) member(name []byte) *fault {
	r := &sc.req
	kind := sc.dec.PeekKind()
	switch string(name) {
	case "messages":
		r.messages = true
		return sc.messages()
	case "system":
		return sc.system()
	case "tools":
		return sc.tools()
	case "stop_sequences":
		return sc.stopSequences()
	}
	known := string(name) // compared only: doesn't escape
	raw, f := sc.value()
	if f != nil {
		return f
	}
	switch known {
	case "model":
		if kind != '"' {
			return invalid("model: Input should be a valid string")
		}
		r.model, r.hasModel = sc.unquote(raw), true
		if r.model.empty() {
			return invalid("model: String should have at least 1 character")
		}
	case "max_tokens":
		n, err := strconv.ParseInt(string(raw.of(sc.body)), 10, 64)
		if err != nil {
			return invalid("max_tokens: Input should be a valid integer")
		}
		if n < 1 {
			return invalid("max_tokens: Input should be greater than or equal to 1")
		}
		r.maxTokens = n
	case "stream":
		if kind != 't' && kind != 'f' {
			return invalid("stream: Input should be a valid boolean")
		}
		r.stream = kind == 't'
	case "temperature":
		t, err := strconv.ParseFloat(string(raw.of(sc.body)), 64)
		if kind != 'n' && (err != nil || t < 0 || t > 1) {
			return invalid("temperature: Input should be a number from 0 to 1")
		}
		if kind != 'n' {
			r.temperature = raw
		}
	case "top_p":
		r.topP = given(kind, raw)
	case "top_k":
		r.topK = given(kind, raw)
	case "tool_choice":
		r.choice = given(kind, raw)
	case "thinking":
		r.thinking = given(kind, raw)
	case "output_config":
		if kind == '{' {
			r.format, r.effort = sc.within(raw, "format"), sc.within(raw, "effort")
		}
	case "output_format":
		r.format = raw
	case "cache_control":
		if r.autoCache.set = kind == '{'; r.autoCache.set {
			r.autoCache.hour = sc.hour(raw)
		}
	case "metadata", "service_tier", "container", "inference_geo":
	case "thread":
		switch {
		case !sc.open:
			return invalid("thread: Extra inputs are not permitted")
		case kind != 'n':
			return unsupportedThread()
		}
	default:
		if !sc.open {
			return invalid("%s: Extra inputs are not permitted", known)
		}
	}
	return nil
}

// given leaves out a null, which says as much as no member.
func given(kind jsontext.Kind, raw span) span {
	if kind == 'n' {
		return span{}
	}
	return raw
}

// within finds a member's value, unless it is null, in an object that has been
// checked.
func (sc *scratch) within(object span, name string) span {
	dec := jsontext.NewDecoder(bytes.NewBuffer(object.of(sc.body)))
	_, _ = dec.ReadToken() // "{"
	for dec.PeekKind() == '"' {
		key, _ := dec.ReadValue()
		found := string(key[1:len(key)-1]) == name
		v, _ := dec.ReadValue()
		if found {
			end := object.start + int(dec.InputOffset())
			return given(v.Kind(), span{end - len(v), end})
		}
	}
	return span{}
}

// tokensOf is the rule of this simulator: four bytes of text are a token.
func tokensOf(bytes int) int { return (bytes + 3) / 4 }

// beta says whether a request asks for beta features.
func beta(h http.Header) bool { return len(h["Anthropic-Beta"]) > 0 }
