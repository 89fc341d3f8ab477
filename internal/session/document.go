package session

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/archive"
)

// The kinds of documents in the archive. A transcript is compressed with gzip; its id
// is the session's and the number of turns that are in it, so that a session and its
// transcript never disagree.
const (
	kindSession    = "session"
	kindTranscript = "transcript"
)

// document is a session as it is kept.
type document struct {
	Session
	Seconds   int64 // the session's TTL
	KeyID     string
	Workspace string // the workspace's name, "" for none yet
	CLI       string // the CLI's id of the conversation, "" before the first answer
	Stored    bool   // the transcript is in the archive; else only where it was made
}

func (d *document) transcriptID() string { return d.ID + "." + strconv.Itoa(d.Turns) }

// get reads a session of a key.
func (s *Sessions) get(ctx context.Context, keyID, id string) (*document, error) {
	found, err := s.archive.Get(ctx, kindSession, keyID, id)
	if errors.Is(err, archive.ErrNotFound) {
		return nil, errUnknown()
	}
	if err != nil {
		return nil, internal("the session can't be read", err)
	}
	return decode(found.Body)
}

func decode(body []byte) (*document, error) {
	d := &document{}
	if err := json.Unmarshal(body, d); err != nil {
		return nil, internal("the session can't be read", err)
	}
	d.TTL = time.Duration(d.Seconds) * time.Second
	return d, nil
}

// put keeps a session from now on for its TTL.
func (s *Sessions) put(ctx context.Context, d *document) error {
	d.Seconds = int64(d.TTL / time.Second)
	body, err := json.Marshal(d)
	if err == nil {
		err = s.archive.Put(ctx, kindSession, d.KeyID, d.ID, d.TTL, body)
	}
	if err != nil {
		return internal("the session can't be kept", err)
	}
	return nil
}

// putTranscript keeps a session's transcript, unless it is too long: then it stays
// only where it is.
func (s *Sessions) putTranscript(ctx context.Context, d *document, transcript []byte) error {
	if d.Stored = len(transcript) > 0 && len(transcript) <= s.options.Transcript; !d.Stored {
		return nil
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(transcript)
		err = errors.Join(err, w.Close())
	}
	if err == nil {
		// A transcript is of no use before its session, so it is kept longer than that.
		err = s.archive.Put(ctx, kindTranscript, d.KeyID, d.transcriptID(), d.TTL+time.Minute, packed.Bytes())
	}
	if err != nil {
		return internal("the session can't be kept", err)
	}
	return nil
}

// transcript reads the kept transcript of a session.
func (s *Sessions) transcript(ctx context.Context, d *document) ([]byte, error) {
	found, err := s.archive.Get(ctx, kindTranscript, d.KeyID, d.transcriptID())
	if err != nil {
		return nil, internal("the session's conversation can't be read", err)
	}
	r, err := gzip.NewReader(bytes.NewReader(found.Body))
	if err != nil {
		return nil, internal("the session's conversation can't be read", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, int64(s.options.Transcript)+1))
	if err == nil && len(text) > s.options.Transcript {
		err = fmt.Errorf("it has more than %d bytes", s.options.Transcript)
	}
	if err != nil {
		return nil, internal("the session's conversation can't be read", err)
	}
	return text, nil
}

// drop removes documents that nobody needs any more. What stays expires.
func (s *Sessions) drop(ctx context.Context, kind, keyID string, ids ...string) {
	for _, id := range ids {
		if err := s.archive.Delete(ctx, kind, keyID, id); err != nil && !errors.Is(err, archive.ErrNotFound) {
			s.log.Warn("a document of a session stays until it expires", "kind", kind, "error", err)
		}
	}
}

// documents gives all sessions of a key, the one used last first.
func (s *Sessions) documents(ctx context.Context, keyID string) ([]*document, error) {
	found, err := s.archive.List(ctx, kindSession, keyID)
	if err != nil {
		return nil, internal("the sessions can't be read", err)
	}
	list := make([]*document, 0, len(found))
	for _, f := range found {
		d, err := decode(f.Body)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	slices.SortStableFunc(list, func(a, b *document) int { return b.Used.Compare(a.Used) })
	return list, nil
}
