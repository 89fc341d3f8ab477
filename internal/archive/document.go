// Package archive keeps documents of the service's own that a caller may ask
// for again, each for a while: an answer with its conversation, say.
package archive

import (
	"context"
	"errors"
	"time"
)

// ErrNotFound says that a key has no document of that kind and id: there is
// none, it has expired, or it is another key's.
var ErrNotFound = errors.New("no such document")

// Document is something kept for one key. Kind, KeyID and ID together name it.
type Document struct {
	Kind  string // which protocol's documents these are: "response"
	ID    string // chosen by whoever puts it, from crypto/rand
	KeyID string // whose it is; "": the service's own
	// Created and Expires are kept to the microsecond, in UTC. From Expires on
	// the document is not there any more.
	Created, Expires time.Time
	Body             []byte
}

// Store keeps documents. It is safe for concurrent use. It knows no clock: what
// has expired is there until DeleteExpired.
type Store interface {
	// PutDocument stores a document, in place of the one of the same kind, key
	// and id where there is one. It returns when the document is durable.
	PutDocument(ctx context.Context, d Document) error
	// Document gives a document, or ErrNotFound. The body is the caller's.
	Document(ctx context.Context, kind, keyID, id string) (Document, error)
	// Documents gives all documents of a kind that a key has, by Created and ID. The
	// bodies are the caller's.
	Documents(ctx context.Context, kind, keyID string) ([]Document, error)
	// DeleteDocument removes a document, or gives ErrNotFound.
	DeleteDocument(ctx context.Context, kind, keyID, id string) error
	// DeleteExpired removes what expires at now or before, in pieces so that
	// nobody waits long for it, and says how much that was, also beside an error.
	DeleteExpired(ctx context.Context, now time.Time) (int64, error)
}
