package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
)

// Gate is what clients' calls pass before vcsim sees them: it counts them, and delays, refuses or loses those
// that it was told to. Calls made by the double itself do not come this way.
type Gate struct {
	inner    http.Handler
	sessions *Sessions

	mu      sync.Mutex
	calls   map[string]int
	delays  map[string]time.Duration
	planned map[string]plan
	thaw    time.Time // until then nothing is answered
}

// plan is what goes wrong with the next calls of a method: a fault's name, or one of the two below.
type plan struct {
	kind  string
	times int
}

const (
	dropped = "drop"   // it is executed and the connection closed instead of an answer
	refused = "refuse" // the connection is closed and nothing executed
)

func newGate(inner http.Handler, sessions *Sessions) *Gate {
	return &Gate{
		inner: inner, sessions: sessions,
		calls: map[string]int{}, delays: map[string]time.Duration{}, planned: map[string]plan{},
	}
}

// Mux sends calls through the gate; the server adds the rest, and these patterns go before its own.
func (g *Gate) Mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("POST "+vim25.Path, g)
	mux.Handle("POST "+vim25.Path+"/vimService", g)
	return mux
}

// ServeHTTP lets one call pass, or not.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	method := methodOf(body)
	delay, kind := g.arrive(method)
	time.Sleep(delay)
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err == nil {
		g.sessions.Touch(cookie.Value)
	}
	switch kind {
	case "":
		g.inner.ServeHTTP(w, r)
	case refused:
		panic(http.ErrAbortHandler)
	case dropped:
		g.inner.ServeHTTP(&discarded{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	case "NotAuthenticated": // vcsim says so itself
		if err == nil {
			g.sessions.End(cookie.Value)
		}
		g.inner.ServeHTTP(w, r)
	default:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, faultEnvelope, kind)
	}
}

// arrive counts a call and says how long it waits and what happens to it then.
func (g *Gate) arrive(method string) (time.Duration, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls[method]++
	delay := max(time.Until(g.thaw), 0) + g.delays[method]
	next := g.planned[method]
	if next.times == 0 {
		return delay, ""
	}
	next.times--
	g.planned[method] = next
	return delay, next.kind
}

// Calls counts clients' calls by method.
func (g *Gate) Calls() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.calls)
}

// ResetCalls begins to count anew.
func (g *Gate) ResetCalls() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.calls)
}

// Delay makes every call of a method wait.
func (g *Gate) Delay(method string, seconds float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delays[method] = time.Duration(seconds * float64(time.Second))
}

// Fail plans what happens to the next calls of a method.
func (g *Gate) Fail(method, kind string, times int) error {
	if kind != dropped && kind != refused {
		if err := checkFault(kind); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.planned[method] = plan{kind, times}
	return nil
}

// Freeze answers nothing for so long; connections are accepted.
func (g *Gate) Freeze(seconds float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.thaw = time.Now().Add(time.Duration(seconds * float64(time.Second)))
}

// methodOf is the name of the first element in a SOAP body.
func methodOf(envelope []byte) string {
	decoder := xml.NewDecoder(bytes.NewReader(envelope))
	inBody := false
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		if start, ok := token.(xml.StartElement); ok {
			if inBody {
				return start.Name.Local
			}
			inBody = start.Name.Local == "Body"
		}
	}
}

const faultEnvelope = xml.Header + `<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"` +
	` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault>` +
	`<faultcode>ServerFaultCode</faultcode><faultstring>%[1]s was arranged</faultstring>` +
	`<detail><%[1]sFault xmlns="urn:vim25" xsi:type="%[1]s"/></detail>` +
	`</soapenv:Fault></soapenv:Body></soapenv:Envelope>`

// discarded is an answer that nobody gets.
type discarded struct {
	header http.Header
}

func (d *discarded) Header() http.Header              { return d.header }
func (d *discarded) Write(answer []byte) (int, error) { return len(answer), nil }
func (d *discarded) WriteHeader(int)                  {}
