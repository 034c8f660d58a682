// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

const (
	// mostWithin is how often a text is read that stands in another in another form: a certificate in a file, in Base64, in
	// another file. What lies deeper is not understood.
	mostWithin = 4
	// mostWord is how long a plain word is at the most: a session token of AWS has some KiB.
	mostWord = 8 << 10
	// mostBegins is in how many places of a word JSON, and a token, is looked for: no word has so many that could be one.
	mostBegins = 64
)

// The forms of a text, as a whole or within another.
var (
	instant  = regexp.MustCompile(`\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)`)
	datedAt  = regexp.MustCompile(`\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d|^\d{4}-\d\d-\d\d$`)
	webToken = regexp.MustCompile(`^(?:[Bb]earer )?([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*$`)
	dotted   = regexp.MustCompile(`[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)
	partOf   = regexp.MustCompile(`^[A-Za-z0-9_-]+`)
	base64s  = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}`)
	inBase64 = regexp.MustCompile(`^[A-Za-z0-9+/_-]{16,}={0,2}$`)
	lines    = regexp.MustCompile(`[\t\n\r -~]{16,}`)
)

const (
	beginsPEM = "-----BEGIN "
	ofSSH     = "-cert-v01@openssh.com"
)

// readText reads a text, and reports whether it was understood: the whole of it has to be of one known form.
func (l *lives) readText(name, text string) bool {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return true
	case l.within > mostWithin:
		return false
	case instant.FindString(text) == text:
		return l.readTime(text)
	case speaksOfTime(name):
		lifetime, err := time.ParseDuration(text)
		l.longest = max(l.longest, lifetime)
		return !l.finds(text) && err == nil
	case strings.HasPrefix(text, beginsPEM):
		return l.readPEM(text, slices.Contains(chain, name))
	}
	if value, once, is := readJSON(text); is {
		return l.inside(func() bool { return l.read(name, value) }) && once
	}
	if parts := webToken.FindStringSubmatch(text); parts != nil {
		if until, is := tokenUntil(parts[1], parts[2]); is {
			l.longest = max(l.longest, until.Sub(l.from))
			return !until.IsZero()
		}
	}
	if known, is := l.readBase64(name, text); is {
		return known
	}
	return l.isWord(text, mostWord)
}

// isWord reports whether a text is a plain word: one line, in which nothing is found that could say how long it works.
func (l *lives) isWord(text string, most int) bool {
	isLine := utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	return !l.finds(text) && isLine && len(text) <= most
}

// inside reads what stands in a text in another form.
func (l *lives) inside(read func() bool) bool {
	l.within++
	defer func() { l.within-- }()
	return read()
}

// readTime reads a time as RFC 3339 writes it, which knows a second 60.
func (l *lives) readTime(text string) bool {
	text, leap := strings.ToUpper(strings.Replace(text, " ", "T", 1)), time.Duration(0)
	if at := len("2006-01-02T15:04:"); text[at:at+2] == "60" {
		text, leap = text[:at]+"59"+text[at+2:], time.Second
	}
	until, err := time.Parse(time.RFC3339, text)
	if err == nil {
		l.longest = max(l.longest, until.Add(leap).Sub(l.from))
	}
	return err == nil
}

// readJSON is an object, a list or a text in JSON that is written as a text. It is not once if it says one thing twice.
func readJSON(text string) (value any, once, is bool) {
	if !strings.ContainsAny(text[:1], `{["`) {
		return nil, false, false
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	is = decoder.Decode(&value) == nil && !decoder.More()
	return value, outbound.JSON.Problem([]byte(text)) == "", is
}

// keys are the types of PEM blocks that hold a key.
var keys = []string{"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY",
	"PUBLIC KEY", "RSA PUBLIC KEY"}

// readPEM reads a text of certificates and keys, with nothing but blanks between them.
func (l *lives) readPEM(text string, isChain bool) bool {
	var all []*x509.Certificate
	known := true
	for rest := []byte(text); len(rest) > 0 && known; {
		block, after := pem.Decode(rest)
		if block == nil {
			known = false
			break
		}
		whole := rest[:len(rest)-len(after)]
		known = bytes.HasPrefix(whole, []byte(beginsPEM+block.Type+"-----")) && bytes.Count(whole, []byte(beginsPEM)) == 1 && len(block.Headers) == 0
		certificate, err := x509.ParseCertificate(block.Bytes)
		switch {
		case slices.Contains(keys, block.Type):
			known = known && !l.findsIn(block.Bytes)
		case block.Type == "CERTIFICATE" && err == nil:
			all = append(all, certificate)
		default:
			known = false
		}
		rest = bytes.TrimSpace(after)
	}
	l.add(all, isChain)
	if !known {
		l.finds(text)
	}
	return known
}

// readBase64 reads what is Base64 as a whole, in any of its alphabets and in one line or more. It is none if what it
// stands for is neither a certificate nor a key nor a text.
func (l *lives) readBase64(name, text string) (known, is bool) {
	one := strings.Join(strings.Fields(text), "")
	if !inBase64.MatchString(one) {
		return false, false
	}
	decoded := fromBase64(strings.TrimRight(one, "="))
	if certificate, err := x509.ParseCertificate(decoded); err == nil {
		l.add([]*x509.Certificate{certificate}, slices.Contains(chain, name))
		return true, true
	}
	if isKey(decoded) {
		return !l.findsIn(decoded), true
	}
	if len(decoded) == 0 || len(lines.Find(decoded)) != len(decoded) {
		return false, false
	}
	return l.inside(func() bool { return l.readText("", string(decoded)) }), true
}

// fromBase64 decodes what can be decoded.
func fromBase64(text string) []byte {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	if len(text)%4 == 1 {
		text = text[:len(text)-1]
	}
	decoded, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return decoded
}

func isKey(der []byte) bool {
	_, err8 := x509.ParsePKCS8PrivateKey(der)
	_, err1 := x509.ParsePKCS1PrivateKey(der)
	_, errEC := x509.ParseECPrivateKey(der)
	return err8 == nil || err1 == nil || errEC == nil
}

// finds reports whether a text has something in it that could say how long it works, and reads it as far as it can be
// read: times, JSON, JSON Web Tokens, PEM, certificates of SSH, and what stands there in Base64, wherever that begins.
func (l *lives) finds(text string) (found bool) {
	if l.within > mostWithin {
		return true
	}
	found = datedAt.MatchString(text) || strings.Contains(text, "-----BEGIN") || strings.Contains(text, ofSSH)
	for _, one := range instant.FindAllString(text, -1) {
		l.readTime(one)
	}
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		l.findsIn(block.Bytes)
	}
	found = l.findsJSON(text) || found
	found = l.findsTokens(text) || found
	runs := base64s.FindAllString(text, -1)
	if one := strings.Join(strings.Fields(text), ""); one != text {
		runs = append(runs, base64s.FindAllString(one, -1)...)
	}
	for _, run := range runs {
		for begins := range 4 { // as many places as Base64 can begin in
			found = l.findsDecoded(fromBase64(run[begins:])) || found
		}
	}
	return found
}

// findsTokens looks for JSON Web Tokens, behind whatever stands before their first part.
func (l *lives) findsTokens(text string) (found bool) {
	if strings.Count(text, "eyJ") > mostBegins {
		return true
	}
	for at := 0; at < len(text); {
		where := dotted.FindStringIndex(text[at:])
		if where == nil {
			break
		}
		head, rest, _ := strings.Cut(text[at+where[0]:], ".")
		body := partOf.FindString(rest)
		for begins := 0; begins >= 0 && begins < len(head); {
			if until, is := tokenUntil(head[begins:], body); is {
				found, l.longest = true, max(l.longest, until.Sub(l.from))
			}
			next := strings.Index(head[begins+1:], "eyJ")
			if next < 0 {
				break
			}
			begins += 1 + next
		}
		at += where[0] + len(head) + 1
	}
	return found
}

// findsJSON looks for objects and lists that hold something. A number in brackets is none: a password can hold one.
func (l *lives) findsJSON(text string) (found bool) {
	for tries := 0; ; tries++ {
		begins := strings.IndexAny(text, "{[")
		if begins < 0 || tries >= mostBegins {
			return found || begins >= 0
		}
		text = text[begins:]
		var value any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if decoder.Decode(&value) != nil {
			text = text[1:]
			continue
		}
		text = text[decoder.InputOffset():]
		members, _ := value.(map[string]any)
		elements, _ := value.([]any)
		if len(members) > 0 || slices.ContainsFunc(elements, func(one any) bool { _, number := one.(json.Number); return !number }) {
			found = true
			l.inside(func() bool { return l.read("", value) })
		}
	}
}

// findsDecoded looks into what was Base64.
func (l *lives) findsDecoded(decoded []byte) bool {
	isText := len(decoded) > 0 && len(lines.Find(decoded)) == len(decoded)
	return l.findsIn(decoded) || isText && bytes.ContainsAny(bytes.TrimSpace(decoded), "\n\r") || findsSequence(decoded)
}

// findsIn looks for certificates and texts in what is not a text.
func (l *lives) findsIn(decoded []byte) (found bool) {
	for i := range decoded {
		if whole := sequence(decoded[i:]); whole != nil {
			if certificate, err := x509.ParseCertificate(whole); err == nil {
				found = true
				l.add([]*x509.Certificate{certificate}, false)
			}
		}
	}
	for _, text := range lines.FindAll(decoded, -1) {
		found = l.inside(func() bool { return l.finds(string(text)) }) || found
	}
	return found
}

// findsSequence reports whether a structure of ASN.1 of some length stands in what was Base64, such as a bundle of
// certificates: by chance none does.
func findsSequence(decoded []byte) bool {
	const twoBytes = 0x82 // of the length
	for i := range decoded {
		if whole := sequence(decoded[i:]); whole != nil && whole[1] == twoBytes {
			return true
		}
	}
	return false
}

// sequence is the structure of ASN.1 that bytes begin with; nil if it is none, or shorter than any certificate.
func sequence(der []byte) []byte {
	const tag, long = 0x30, 0x80
	if len(der) < 2 || der[0] != tag || der[1] <= long {
		return nil
	}
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(der, &raw); err != nil {
		return nil
	}
	return raw.FullBytes
}

// tokenUntil is until when a JSON Web Token of these first two parts says that it works, zero if it does not say; false
// if it is none.
func tokenUntil(head, body string) (until time.Time, is bool) {
	var header struct {
		Algorithm string `json:"alg"`
	}
	if text, err := base64.RawURLEncoding.DecodeString(head); err != nil || json.Unmarshal(text, &header) != nil || header.Algorithm == "" {
		return time.Time{}, false
	}
	var claims map[string]json.RawMessage // names differ by case
	text, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || json.Unmarshal(text, &claims) != nil || outbound.JSON.Problem(text) != "" {
		return time.Time{}, true
	}
	// A NumericDate can have a fraction, and an exponent. Source: https://www.rfc-editor.org/rfc/rfc7519#section-2.
	seconds, err := json.Number(claims["exp"]).Float64()
	switch latest := v1alpha1.LatestInstant(); {
	case err != nil || seconds <= 0:
		return time.Time{}, true
	case seconds > float64(latest.Unix()): // or more seconds than an instant has
		return latest, true
	}
	return time.Unix(int64(math.Ceil(seconds)), 0), true
}
