package responsesapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// kind is what the archive calls a response.
const kind = "response"

// codePrevious is OpenAI's code for a previous_response_id that isn't known.
const codePrevious apierror.Code = "previous_response_not_found"

// maxReferences bounds how many responses the item references of one request may
// name: each is a read.
const maxReferences = 16

// kept is a response out of the archive: an object with the members response (what
// the caller got), items (the whole conversation before the answer) and output
// (the answer's items, with all that it takes to go on from them).
type kept struct {
	response jsontext.Value
	inputs   int // how many of the items stood before the output
	reader   itemReader
}

// readKept reads a document. Its items are in the reader: those of the
// conversation, then those of the answer.
func readKept(body []byte) (*kept, error) {
	k := &kept{}
	k.reader.kept, k.reader.arena = true, make([]byte, 0, len(body))
	s := protocol.NewScanner(body)
	err := s.Document(func(name []byte) (err error) {
		switch string(name) {
		case "response":
			k.response, err = s.Value()
		case "items":
			err = s.Array(func(int) error { return k.reader.read(s) })
			k.inputs = len(k.reader.items)
		case "output":
			err = s.Array(func(int) error { return k.reader.read(s) })
		default:
			err = s.Skip()
		}
		return err
	})
	if err != nil {
		// A plain error: a document of our own is nothing that the caller sent.
		return nil, fmt.Errorf("read a kept response: %s", err.Error())
	}
	return k, nil
}

// get reads a kept response of the caller. An error is archive.ErrNotFound, an
// apierror.Error, or any other for a plain 500.
func (h *Handler) get(ctx context.Context, call *gateway.Call, id string) (*kept, error) {
	document, err := h.archive.Get(ctx, kind, call.Caller.KeyID, id)
	if err != nil {
		return nil, failure(ctx, err)
	}
	return readKept(document.Body)
}

// failure gives an error of the archive its meaning for the caller;
// archive.ErrNotFound stays.
func failure(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, archive.ErrNotFound):
		return err
	case ctx.Err() != nil:
		return apierror.Wrap(apierror.ClientClosed, "the caller left", err)
	}
	return &apierror.Error{
		Category: apierror.Overloaded, Message: "kept responses can't be reached at the moment", RetryAfter: time.Second, Cause: err,
	}
}

// former reads the items of the conversation that a request goes on from; none
// where it starts one.
func (h *Handler) former(ctx context.Context, call *gateway.Call, c *request) ([]item, error) {
	if c.previous == "" {
		return nil, nil
	}
	k, err := h.get(ctx, call, c.previous)
	if errors.Is(err, archive.ErrNotFound) {
		return nil, &apierror.Error{
			Category: apierror.BadRequest, Code: codePrevious, Param: "previous_response_id",
			Message: fmt.Sprintf("Previous response with id '%.128s' not found.", c.previous),
		}
	}
	if err != nil {
		return nil, err
	}
	return k.reader.items, nil
}

// resolve puts items in the place of references to them. One that stands in the
// conversation already adds nothing.
func (h *Handler) resolve(ctx context.Context, call *gateway.Call, former, own []item) ([]item, error) {
	var read map[string]*kept
	resolved := own[:0]
	for _, it := range own {
		if it.reference == "" {
			resolved = append(resolved, it)
			continue
		}
		if find(former, it.reference) != nil || find(resolved, it.reference) != nil {
			continue
		}
		id := responseOf(it.reference)
		k := read[id]
		if k == nil && id != "" {
			if len(read) == maxReferences {
				return nil, apierror.Invalid("input", "input: references to items of more than %d responses", maxReferences)
			}
			var err error
			if k, err = h.get(ctx, call, id); err != nil && !errors.Is(err, archive.ErrNotFound) {
				return nil, err
			}
		}
		var found *item
		if k != nil {
			if read == nil {
				read = map[string]*kept{}
			}
			read[id] = k
			found = find(k.reader.items, it.reference)
		}
		if found == nil {
			return nil, &apierror.Error{
				Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "input",
				Message: fmt.Sprintf("Item with id '%.128s' not found. Items are kept only where store is true.", it.reference),
			}
		}
		resolved = append(resolved, *found)
	}
	return resolved, nil
}

// kind gives the kind that an item's id begins with.
func (it *item) kind() string {
	switch {
	case it.calls, it.result:
		return kindCall
	case it.said == "":
		return kindReasoning
	}
	return kindMessage
}

func find(items []item, id string) *item {
	for i := range items {
		if items[i].id == id {
			return &items[i]
		}
	}
	return nil
}

// keepTimeout bounds the keeping of a response whose caller waits for its end.
const keepTimeout = 10 * time.Second

// keeper keeps the response of one request's conversation.
type keeper struct {
	handler     *Handler
	ctx         context.Context
	call        *gateway.Call
	former, own []item
}

// keep keeps a response that has come to its end, given as the JSON that the
// caller gets, also where the caller has left. It returns when it is kept. A
// response that isn't to be kept is passed over.
func (k *keeper) keep(r *response, object []byte) error {
	if !r.request.stored() {
		return nil
	}
	size := 2*len(object) + 1_024
	for _, items := range [...][]item{k.former, k.own} {
		for i := range items {
			size += max(len(items[i].raw), len(items[i].content)) + 192
		}
	}
	body := appendKept(make([]byte, 0, size), r, object, k.former, k.own)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), keepTimeout)
	defer cancel()
	if err := k.handler.archive.Put(ctx, kind, k.call.Caller.KeyID, responsePrefix+r.id, k.handler.ttl, body); err != nil {
		return apierror.Wrap(apierror.Internal, "the response couldn't be kept (store: false asks for one that isn't)", err)
	}
	return nil
}

// appendKept appends the document of a response.
func appendKept(dst []byte, r *response, object []byte, former, own []item) []byte {
	dst = append(append(dst, `{"response":`...), object...)
	dst = append(dst, `,"items":[`...)
	for i := range former {
		dst = appendKeptItem(dst, &former[i], nil, i > 0)
	}
	var id [64]byte
	for i := range own {
		dst = appendKeptItem(dst, &own[i], appendItemID(id[:0], own[i].kind(), r.id, i), len(former)+i > 0)
	}
	dst = append(dst, `],"output":[`...)
	return append(r.appendOutput(dst, true), "]}"...)
}

// appendKeptItem appends an item as GET …/input_items gives it: with an id, and a
// message with its type and with its content as parts. id is the one of an item
// that came without.
func appendKeptItem(dst []byte, it *item, id []byte, comma bool) []byte {
	if comma {
		dst = append(dst, ',')
	}
	if it.said == "" {
		if it.id != "" {
			return append(dst, it.raw...)
		}
		dst = append(append(append(dst, `{"id":"`...), id...), '"')
		s := protocol.NewScanner(it.raw)
		_ = s.Document(func(name []byte) error { // it has been read before
			value, err := s.Value()
			if string(name) != "id" { // null, or empty
				dst = append(protocol.AppendText(append(dst, ','), string(name)), ':')
				dst = append(dst, value...)
			}
			return err
		})
		return append(dst, '}')
	}
	if it.id != "" {
		dst = protocol.AppendText(append(dst, `{"id":`...), it.id)
	} else {
		dst = append(append(append(dst, `{"id":"`...), id...), '"')
	}
	dst = append(append(append(dst, `,"type":"message","status":"completed","role":"`...), it.said...), `","content":`...)
	if it.content.Kind() != '"' {
		return append(append(dst, it.content...), '}')
	}
	part := `[{"type":"input_text","text":`
	if it.said == message.RoleAssistant {
		part = `[{"type":"output_text","annotations":[],"text":`
	}
	return append(append(append(dst, part...), it.content...), "}]}"...)
}
