package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What a secret looks like, and how long it may be in bytes (Standard Webhooks,
// "Signature scheme").
const (
	secretPrefix         = "whsec_"
	minSecret, maxSecret = 24, 64
)

// maxAnswer is how much of an answer is read, so that its connection can be used
// again.
const maxAnswer = 64 << 10

// receiver is where events are sent.
type receiver struct {
	url    string
	secret []byte
	client *http.Client
}

func newReceiver(options Options) (*receiver, error) {
	if err := checkURL(options.URL); err != nil {
		return nil, err
	}
	secret, err := parseSecret(options.Secret)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}}
	if options.Client != nil {
		*client = *options.Client
	}
	client.Timeout = attemptTimeout
	// A receiver that has moved is a change for the operator to make, not for
	// whoever answers at the old place.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &receiver{options.URL, secret, client}, nil
}

// checkURL allows https, and http where the message doesn't leave the machine. Its
// error doesn't repeat the URL: many receivers know their callers by it.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the webhook's URL isn't one that begins with https://")
	case u.User != nil:
		return errors.New("the webhook's URL must not hold a user name or a password")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("the webhook's URL must begin with https://: http:// is for receivers on this machine (localhost, 127.0.0.1, ::1)")
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func parseSecret(text string) ([]byte, error) {
	if text == "" {
		return nil, errors.New(`a webhook needs a secret to sign with, for example what prints: echo "whsec_$(openssl rand -base64 32)"`)
	}
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	secret, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(secret) < minSecret || len(secret) > maxSecret {
		return nil, fmt.Errorf("the webhook's secret must be %q and %d to %d bytes in base64", secretPrefix, minSecret, maxSecret)
	}
	return secret, nil
}

// post sends a letter. Only an answer of 200 to 299 takes it.
func (r *receiver) post(ctx context.Context, l *letter) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, strings.NewReader(l.Body))
	if err != nil {
		return withoutURL(err)
	}
	id, now := r.id(l), strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "claude-code-api-service")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", now)
	request.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(r.mac(id, ".", now, ".", l.Body)))
	response, err := r.client.Do(request)
	if err != nil {
		return withoutURL(err)
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // only the status matters
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("the receiver answered with status %d", response.StatusCode)
	}
	return nil
}

// id is the same in each attempt, and from each process that shares the database
// and the secret. Services with secrets of their own don't share ids.
func (r *receiver) id(l *letter) string { return "msg_" + hex.EncodeToString(r.mac(l.ID)[:16]) }

func (r *receiver) mac(parts ...string) []byte {
	mac := hmac.New(sha256.New, r.secret)
	for _, part := range parts {
		mac.Write([]byte(part)) // never fails
	}
	return mac.Sum(nil)
}

// withoutURL gives what an HTTP client's error is about.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
