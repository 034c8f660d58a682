// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// What a text can hold beside others.
var (
	instants = regexp.MustCompile(`\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)`)
	dotted   = regexp.MustCompile(`[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)+`)
	encoded  = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}`)
)

// mostWithin is how often a text is read that stands in another in another form: a certificate in a file, in Base64, in
// another file. What lies deeper is not understood.
const mostWithin = 4

// readText reads a text, and reports whether it was understood.
func (l *lives) readText(name, text string) bool {
	text = strings.TrimSpace(text)
	if strings.Contains(text, "-----BEGIN ") {
		return l.readPEM([]byte(text), slices.Contains(chain, name))
	}
	if strings.Contains(text, "-cert-v01@openssh.com") || l.within > mostWithin {
		return false
	}
	if object, is := readJSON(text); is {
		return l.inside(func() bool { return l.read(name, object) })
	}
	timed := l.readTimes(text)
	rest, known := l.readTokens(text)
	known = l.readEncoded(name, rest) && known
	if name = strings.ToLower(name); text == "" || timed || name != "exp" && !slices.ContainsFunc(ofTime, func(word string) bool { return strings.Contains(name, word) }) {
		return known
	}
	lifetime, err := time.ParseDuration(text)
	l.longest = max(l.longest, lifetime)
	return known && err == nil
}

// inside reads what stands in a text in another form.
func (l *lives) inside(read func() bool) bool {
	l.within++
	defer func() { l.within-- }()
	return read()
}

// readJSON is an object or a list that is written as a text.
func readJSON(text string) (value any, is bool) {
	if !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") {
		return nil, false
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	return value, decoder.Decode(&value) == nil && !decoder.More()
}

// readTimes reads the times that a text holds, whatever they are called: those that are over lengthen nothing.
func (l *lives) readTimes(text string) (found bool) {
	for _, one := range instants.FindAllString(text, -1) {
		until, err := time.Parse(time.RFC3339, strings.ToUpper(strings.Replace(one, " ", "T", 1)))
		if err == nil {
			found, l.longest = true, max(l.longest, until.Sub(l.from))
		}
	}
	return found
}

// readTokens reads the JSON Web Tokens that a text holds, and returns the text without them. One that does not say until
// when it works is not understood.
func (l *lives) readTokens(text string) (rest string, known bool) {
	known = true
	rest = dotted.ReplaceAllStringFunc(text, func(run string) string {
		parts := strings.Split(run, ".")
		for i := 0; i+2 < len(parts); i++ {
			if until, is := tokenUntil(parts[i], parts[i+1]); is {
				l.longest = max(l.longest, until.Sub(l.from))
				known = known && !until.IsZero()
				parts[i], parts[i+1], parts[i+2] = "", "", ""
			}
		}
		return strings.Join(parts, ".")
	})
	return rest, known
}

// readEncoded reads what a text holds in Base64, of any of its alphabets and in one line or more: certificates, and texts.
func (l *lives) readEncoded(name, text string) bool {
	known := true
	if one := strings.Join(strings.Fields(text), ""); encoded.FindString(one) == strings.TrimRight(one, "=") {
		text = one
	}
	runs := encoded.FindAllString(text, -1)
	for _, run := range runs {
		decoded, err := base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(run))
		if err != nil {
			continue
		}
		if certificate, err := x509.ParseCertificate(decoded); err == nil {
			l.add([]*x509.Certificate{certificate}, slices.Contains(chain, name))
			continue
		}
		if utf8.Valid(decoded) && !bytes.ContainsRune(decoded, 0) {
			known = l.inside(func() bool { return l.readText("", string(decoded)) }) && known
		}
	}
	return known
}

// tokenUntil is until when a JSON Web Token of these first two parts says that it works, zero if it does not say; false
// if it is none.
func tokenUntil(head, body string) (until time.Time, is bool) {
	var header struct {
		Algorithm string `json:"alg"`
	}
	var claims map[string]json.RawMessage // names differ by case
	for i, into := range []any{&header, &claims} {
		part := head
		if i > 0 {
			part = body
		}
		decoded, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || json.Unmarshal(decoded, into) != nil {
			return time.Time{}, i > 0 && header.Algorithm != ""
		}
	}
	seconds, err := json.Number(claims["exp"]).Int64()
	switch {
	case header.Algorithm == "":
		return time.Time{}, false
	case err != nil || seconds <= 0:
		return time.Time{}, true
	case seconds > v1alpha1.LatestInstant().Unix(): // or more seconds than an instant has
		return v1alpha1.LatestInstant(), true
	}
	return time.Unix(seconds, 0), true
}
