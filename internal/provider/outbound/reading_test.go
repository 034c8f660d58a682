// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// errorsOfA are those of a server whose errors have a field a, with a 1.
var errorsOfA = outbound.Errors{Fields: []string{"a", "a/@b", "a/b"}, Is: func(text []byte) bool { return strings.Contains(string(text), "1") }}

// answered is what a client makes of an answer in a form: its status, what is read of it, and why nothing is.
func answered(t *testing.T, form outbound.Form, handler http.HandlerFunc) (status int, text, unread string) {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	c, err := outbound.Settings{}.Client("", form, errorsOfA)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	response, err := c.Get(server.URL)
	if err != nil {
		return 0, "", outbound.Unread("The server", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	unread = outbound.Unread("The server", err)
	if err != nil && unread == "" {
		t.Errorf("nobody says why nothing is read: %v", err)
	}
	return response.StatusCode, string(body), unread
}

// saying answers with a status and a text.
func saying(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

const (
	once    = ""
	twice   = "says one thing twice"
	twoWays = "can be read in more than one way"
	broken  = "to its end"
	long    = "longer than its answers"
)

// readings are answers, by their form, and what is said of those of which nothing is read: a check that reads the last
// member of a name, and a library that reads the first, would not look at the same token.
var readings = map[outbound.Form]map[string]string{
	outbound.JSON: {
		``: once, ` `: once, `null`: once, `[]`: once, `{"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}]}`: once, `{"a":1} ` + "\n": once,
		`<xml/>`: broken, `{"a":`: broken, `404 not found`: broken, `x`: broken,
		`{"token":"x","token":null}`: twice, `{"token":"x","TOKEN":"y"}`: twice, `{"token":"x","to\u212Aen":"y"}`: twice,
		`{"a":[{"a":{"b":1,"b":1}}]}`: twice, `[{"a":1,"a":2}]`: twice, `{"policies":["root"],"policies":["default"]}`: twice,
		`{"a":1}{"a":2}`: twoWays, `{"a":1} x`: twoWays, `[]{"a":1}`: twoWays, `null {"a":1}`: broken,
		`{"a":"` + strings.Repeat("x", 64<<10) + `"}`: long, `{"a":1}` + strings.Repeat(" ", 64<<10): long,
	},
	outbound.XML: {
		``: once, ` `: once, `<a/>`: once, `<?xml version="1.0" encoding="UTF-8"?>` + "\n<a>\n<b>x &amp; y</b>\n<c/></a>\n": once,
		`<a><Names><member>x</member><member>y</member></Names><IsTruncated>false</IsTruncated></a>`: once,
		`<a xmlns="x"><b><c>1</c></b><d><c>1</c></d></a>`:                                            once,
		`{"a":1}`: broken, `x`: broken, `<a><b></a>`: broken, `<a>`: broken, `<a/`: broken, `<a>&x;</a>`: broken,
		`<a><b>1</b><b>2</b></a>`: twice, `<a><b>1</b><c/><b>2</b></a>`: twice, `<a><b>1</b><B>2</B></a>`: twice,
		`<a xmlns:x="x" xmlns:y="y"><x:b>1</x:b><y:b>2</y:b></a>`: twice, `<a b="1" b="2"/>`: twice, `<a b="1" B="2"/>`: twice,
		`<a><c><d><b>1</b><b>2</b></d></c></a>`: twice,
		`<a/><a/>`:                              twoWays, `<a/><b/>`: twoWays, `<a/>x`: twoWays, `x<a/>`: broken, `{"a":"<a/>"}`: broken,
		`<a><b>1</b><member>x</member></a>`: twoWays, `<a><member>x</member><b>1</b></a>`: twoWays,
		`<a><b>1<!-- --></b></a>`: twoWays, `<a><!-- --></a>`: twoWays, `<!DOCTYPE a><a/>`: twoWays, `<a><?x y?></a>`: twoWays, `<a/><?xml version="1.0"?>`: twoWays,
		`<a><b>1<![CDATA[2]]></b></a>`: twoWays, `<a><b>1<c/></b></a>`: twoWays, `<a><b><c/>1</b></a>`: twoWays,
		`<a>` + strings.Repeat("x", 64<<10) + `</a>`: long, `<a/>` + strings.Repeat("\n", 64<<10): long,
	},
}

func TestClient_AnAnswerOfTwoReadingsIsNone(t *testing.T) {
	for form, texts := range readings {
		for text, why := range texts {
			status, read, unread := answered(t, form, saying(http.StatusCreated, text))
			shown := text[:min(len(text), 80)]
			if status != http.StatusCreated || (unread == "") != (why == once) || !strings.Contains(unread, why) {
				t.Errorf("%s %s: %d, %q", form, shown, status, unread)
			}
			if why == once && read != text || why != once && read != "" {
				t.Errorf("%s %s is read as %s", form, shown, read)
			}
		}
	}
}

// TestClient_OfARefusalOnlyTheServersOwnWholeErrorIsRead: what holds nothing, or is a page, is a status alone, and what
// holds more is refused as a success is that cannot be read.
func TestClient_OfARefusalOnlyTheServersOwnWholeErrorIsRead(t *testing.T) {
	const whole, nothing, more = "whole", "nothing", "status 502, and its answer holds more than an error"
	for form, texts := range map[outbound.Form]map[string]string{
		outbound.JSON: {
			`{"a":1}`: whole, `{"a":"1","token":null,"lease_id":"","lease_duration":0,"renewable":false,"data":{},"c":[]}`: whole,
			`{"a":2}`: nothing, ``: nothing, `{}`: nothing, `[]`: nothing, `null`: nothing, `""`: nothing, `x`: nothing, `upstream {"a":1}`: nothing, `<html>{"token":"x"}</html>`: nothing,
			`{"a":1`: more, ` {"token":"x"`: more, `{"a":1}` + strings.Repeat(" ", 64<<10): more,
			`{"a":1,"token":"x"}`: more, `{"a":1,"data":{"a":1}}`: more, `{"A":1}`: more, `{"token":"x"}`: more, `[1]`: more, `"token"`: more,
			`{"a":1,"a":1}`: more, `{"a":1}{"token":"x"}`: more, `{"a":1}<html>`: more,
		},
		outbound.XML: {
			`<a><b>1</b></a>`: whole, `<a xmlns="x">1</a>`: whole, `<?xml version="1.0"?><a b="1"/>`: whole,
			`<a/>`: nothing, ``: nothing, `x`: nothing, `<a>`: more, ` <token>1</token`: more, `<html><p>2</p></html>`: nothing, "<!DOCTYPE html>\n<HTML lang=en><p>1": nothing,
			`<a><b>1</b><c>x</c></a>`: more, `<a><b>1<c/></b></a>`: more, `<a><c><b>1</b></c></a>`: more, `<token>1</token>`: more, `<a token="1"/>`: more,
			`<a><b>1</b><b>1</b></a>`: more, `<a>1</a><token/>`: more, `<html><c/></html><token/>`: nothing,
		},
	} {
		for text, want := range texts {
			status, read, unread := answered(t, form, saying(http.StatusBadGateway, text))
			shown := text[:min(len(text), 80)]
			if (unread == "") == (want == more) || !strings.Contains(unread, map[bool]string{true: more}[want == more]) {
				t.Errorf("%s %s: %d, %q", form, shown, status, unread)
			}
			if want != more && status != http.StatusBadGateway || (read == text) != (want == whole || text == "") || want != whole && read != "" {
				t.Errorf("%s %s: %d, %q", form, shown, status, read)
			}
		}
	}
}

// TestClient_ASuccessThatSaysAnErrorIsNone: nobody knows which of both it is.
func TestClient_ASuccessThatSaysAnErrorIsNone(t *testing.T) {
	for form, texts := range map[outbound.Form]map[string]bool{
		outbound.JSON: {`{"errors":["x"],"token":"x"}`: true, `{"error":{"code":1},"token":"x"}`: true, `{"Error":"x"}`: true,
			`{"errors":[],"error":null,"token":"x"}`: false, `{"data":{"error":"x"}}`: false, `["error"]`: false},
		outbound.XML: {`<a><Error>x</Error><b/></a>`: true, `<ErrorResponse/>`: true, `<Error/>`: true, `<a><b><Error/></b></a>`: false},
	} {
		for text, is := range texts {
			if _, _, unread := answered(t, form, saying(http.StatusOK, text)); (unread == "") == is || is && !strings.Contains(unread, "success, and its answer says an error") {
				t.Errorf("%s %s: %q", form, text, unread)
			}
		}
	}
}

// TestClient_AnAnswerThatIsCutShortIsNone, and its status is known all the same.
func TestClient_AnAnswerThatIsCutShortIsNone(t *testing.T) {
	for form, text := range map[outbound.Form]string{outbound.JSON: `{"a":1}`, outbound.XML: `<a/>`} {
		status, _, unread := answered(t, form, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
			_, _ = io.WriteString(w, text)
		})
		if status != http.StatusOK || !strings.Contains(unread, "cut short") {
			t.Errorf("%s: %d, %q", form, status, unread)
		}
	}
}

// TestUnread_SaysNothingOfOtherFailures, which are of answers that were read, or that never came.
func TestUnread_SaysNothingOfOtherFailures(t *testing.T) {
	for _, err := range []error{nil, io.EOF, http.ErrHandlerTimeout} {
		if said := outbound.Unread("The server", err); said != "" {
			t.Errorf("%v: %s", err, said)
		}
	}
}
