package benchmark

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
)

// DirectOptions say how long to measure the direct path.
type DirectOptions struct {
	StandOptions
	Requests int
	Progress func(text string)
}

// DirectResult is what the direct path showed at one caller.
type DirectResult struct {
	Upstream, Messages, Chat Samples // whole answers
	UpstreamFirst, First     Samples // first streamed event
}

// RunDirect measures the direct path against the upstream itself, interleaved.
func RunDirect(ctx context.Context, o DirectOptions) (*DirectResult, error) {
	o.CLI, o.Workers = "off", 1
	o.Progress("starting the service without a CLI")
	stand, err := NewStand(ctx, o.StandOptions)
	if err != nil {
		return nil, err
	}
	defer stand.Close()
	o.Progress(fmt.Sprintf("%d requests on each side, in turn", o.Requests))
	client := newClient()
	service, upstream := messagesHeader(stand.Service.Key), messagesHeader("sk-simulator")
	r := &DirectResult{}
	for i := range o.Requests + warmUp {
		samples := make([]time.Duration, 0, 5)
		for _, do := range []func() (time.Duration, error){
			func() (time.Duration, error) { return message(ctx, client, stand.Upstream, upstream) },
			func() (time.Duration, error) { return message(ctx, client, stand.Service.URL, service) },
			func() (time.Duration, error) { return must(stand.Service.Chat(ctx, "direct", Prompt(""))) },
			func() (time.Duration, error) { return firstEvent(ctx, client, stand.Upstream, upstream) },
			func() (time.Duration, error) { return firstEvent(ctx, client, stand.Service.URL, service) },
		} {
			took, err := do()
			if err != nil {
				return nil, err
			}
			samples = append(samples, took)
		}
		if i < warmUp {
			continue
		}
		for j, to := range []*Samples{&r.Upstream, &r.Messages, &r.Chat, &r.UpstreamFirst, &r.First} {
			*to = append(*to, samples[j])
		}
	}
	return r, nil
}

func messagesHeader(key string) http.Header {
	return http.Header{"X-Api-Key": {key}, "Anthropic-Version": {"2023-06-01"}, "Content-Type": {"application/json"}}
}

func messagesBody(stream bool) []byte {
	body, err := json.Marshal(chat{Model: "claude-haiku-5-5", MaxTokens: 200, Messages: []chatMessage{{"user", Prompt("")}}, Stream: stream})
	if err != nil {
		panic(err) // the struct has only texts and numbers
	}
	return body
}

func message(ctx context.Context, client *http.Client, url string, header http.Header) (time.Duration, error) {
	return must(send(ctx, client, http.MethodPost, url+"/v1/messages", header, messagesBody(false)))
}

// firstEvent times a stream from its request to its first event, and reads it to
// the end.
func firstEvent(ctx context.Context, client *http.Client, url string, header http.Header) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/messages", bytes.NewReader(messagesBody(true)))
	if err != nil {
		return 0, err
	}
	request.Header = header
	started := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d", response.StatusCode)
	}
	lines := bufio.NewReader(response.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		return 0, err
	}
	took := time.Since(started)
	_, err = io.Copy(io.Discard, lines)
	return took, err
}

// Print writes the result as a table.
func (r *DirectResult) Print(w io.Writer) {
	fmt.Fprintf(w, "\nDirect path, one caller (upstream answering at once)\n  %-34s %10s %10s %10s %10s\n", "", "p50", "p99", "added p50", "n")
	row := func(name string, s, base Samples) {
		fmt.Fprintf(w, "  %-34s %10s %10s %10s %10d\n", name, ms(s.Median()), ms(s.Quantile(0.99)), ms(s.Median()-base.Median()), len(s))
	}
	row("upstream itself", r.Upstream, r.Upstream)
	row("/v1/messages through the service", r.Messages, r.Upstream)
	row("/v1/chat/completions (translated)", r.Chat, r.Upstream)
	row("upstream itself, first event", r.UpstreamFirst, r.UpstreamFirst)
	row("/v1/messages, first event", r.First, r.UpstreamFirst)
	fmt.Fprintf(w, "  added at p50: %s (at most 0.35 ms)\n", ms(r.Messages.Median()-r.Upstream.Median()))
}
