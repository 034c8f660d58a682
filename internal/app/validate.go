// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/valetkey/valetkey/internal/signer"
)

// validate looks at everything that can be known to be wrong before anything is touched. It is told which flags were given.
func (o options) validate(given func(flag string) bool) error {
	return errors.Join(o.checkNamespaces(), o.checkAudit(), o.checkNumbers(), o.checkURLs(), o.checkWords(given), o.checkIssuer(given), o.checkAddresses(given))
}

// refuse says which flag is wrong, its value, and what to do.
func refuse(flag, value, want string) error {
	return fmt.Errorf("--%s %s: %s", flag, shown(value), want)
}

// shown is a value without what could be a password in a URL.
func shown(value string) string {
	if at := strings.LastIndex(value, "@"); at >= 0 {
		value = "…" + value[at:]
	}
	if before, _, found := strings.Cut(value, "?"); found {
		value = before + "?…"
	}
	return strconv.Quote(value)
}

func (o options) checkNamespaces() error {
	var problems []error
	for _, named := range []repeated{{"namespace", []string{o.namespace}}, {"identities-namespace", []string{o.identitiesNamespace}}, {"watch-namespace", o.watchNamespaces}} {
		for _, name := range named.values {
			if len(validation.IsDNS1123Label(name)) > 0 {
				problems = append(problems, refuse(named.flag, name, "want the name of a namespace: lower case letters, digits and dashes, 63 at most"))
			}
		}
	}
	if o.namespace == o.identitiesNamespace {
		problems = append(problems, refuse("identities-namespace", o.identitiesNamespace, "want another namespace than the operator's own: Pods run there, and could have the identities' tokens"))
	}
	for _, name := range o.watchNamespaces {
		if name == o.namespace || name == o.identitiesNamespace {
			problems = append(problems, refuse("watch-namespace", name, "want a namespace of agents, not the operator's own or the identities'"))
		}
	}
	return errors.Join(append(problems, repeated{"watch-namespace", o.watchNamespaces}.once())...)
}

// repeated are the values of a flag that can be given more than once.
type repeated struct {
	flag   string
	values []string
}

// set is a value that need not be there.
func set(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// once sees that no value is given twice: one of them was meant to be another.
func (r repeated) once() error {
	var problems []error
	for i, v := range r.values {
		if slices.Index(r.values, v) < i {
			problems = append(problems, refuse(r.flag, v, "it is given twice: keep one"))
		}
	}
	return errors.Join(problems...)
}

func (o options) checkAudit() error {
	if !filepath.IsAbs(o.auditFile) {
		return refuse("audit-file", o.auditFile, "want an absolute path; nothing is issued without an audit log")
	}
	folder := filepath.Dir(o.auditFile)
	about, err := os.Stat(o.auditFile)
	switch {
	case err == nil && about.IsDir():
		return refuse("audit-file", o.auditFile, "it is a directory: want the path of a file in it")
	case err == nil && unix.Access(o.auditFile, unix.W_OK) != nil:
		return refuse("audit-file", o.auditFile, "it cannot be written: give it to the operator's user")
	case unix.Access(folder, unix.W_OK|unix.X_OK) != nil:
		return refuse("audit-file", o.auditFile, "no file can be made in "+folder+": mount a volume there that the operator's user may write (fsGroup)")
	}
	return nil
}

func (o options) checkNumbers() error {
	var problems []error
	for _, n := range []struct {
		flag               string
		value, least, most int
	}{
		{"audit-max-size", o.auditMaxSizeMB, 1, 100_000}, {"audit-backups", o.auditBackups, 0, 100_000}, {"workers", o.workers, 1, 1000},
	} {
		if n.value < n.least || n.value > n.most {
			problems = append(problems, fmt.Errorf("--%s %d: want %d to %d", n.flag, n.value, n.least, n.most))
		}
	}
	for _, d := range []struct {
		flag        string
		value, most time.Duration
	}{
		{"job-timeout", o.jobTimeout, 24 * time.Hour}, {"retention", o.retention, 10 * 365 * 24 * time.Hour}, {"leader-lease", o.leaseDuration, 10 * time.Minute},
	} {
		if d.value < time.Second || d.value > d.most {
			problems = append(problems, fmt.Errorf("--%s %s: want 1s to %s", d.flag, d.value, d.most))
		}
	}
	return errors.Join(problems...)
}

func (o options) checkURLs() error {
	var problems []error
	for _, u := range []struct {
		repeated
		such    string
		schemes []string
	}{
		{repeated{"aws-endpoint", o.awsEndpoints}, "https://sts.example.com", []string{"https", "http"}},
		{repeated{"kubernetes-server", o.kubernetesServers}, defaultServer, []string{"https"}},
		{repeated{"vault-address", o.vaultAddresses}, "https://vault.example.com:8200", []string{"https", "http"}},
		{repeated{"gcp-endpoint", o.gcpEndpoints}, "https://sts.example.com", []string{"https", "http"}},
		{repeated{"github-api", o.githubAPIs}, "https://github.example.com/api/v3", []string{"https", "http"}},
		{repeated{"trace-endpoint", set(o.traceEndpoint)}, "https://collector.example.com:4318", []string{"https", "http"}},
	} {
		for _, value := range u.values {
			server := value
			if u.flag == "github-api" {
				server = strings.TrimSuffix(value, "/api/v3")
			}
			if !isServer(server, u.schemes...) {
				problems = append(problems, refuse(u.flag, value, "want the URL of a server, such as "+u.such))
			}
		}
		problems = append(problems, u.once())
	}
	return errors.Join(problems...)
}

// isServer reports whether a URL names a server and nothing else.
func isServer(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	return err == nil && slices.Contains(schemes, u.Scheme) && u.Hostname() != "" && strings.Trim(u.Path, "/") == "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

func (o options) checkWords(given func(flag string) bool) error {
	var problems []error
	for _, audiences := range []repeated{{"aws-audience", o.awsAudiences}, {"vault-audience", o.vaultAudiences}, {"gcp-audience", o.gcpAudiences}} {
		for _, value := range audiences.values {
			if !isWord(value) {
				problems = append(problems, refuse(audiences.flag, value, "want an audience, without blanks"))
			}
		}
		problems = append(problems, audiences.once())
	}
	if given("identity-extra-key") && !isWord(o.identityExtraKey) {
		problems = append(problems, refuse("identity-extra-key", o.identityExtraKey, "want a key such as example.com/employee-id"))
	}
	return errors.Join(problems...)
}

func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

func (o options) checkIssuer(given func(flag string) bool) error {
	var problems []error
	if o.tokenIssuer == "" {
		if given("token-issuer") {
			problems = append(problems, refuse("token-issuer", "", "want the URL of a server, such as https://valetkey.example.com, or leave it out"))
		}
		for _, flag := range []string{"token-signer", "token-address", "token-cert-dir"} {
			if given(flag) {
				problems = append(problems, fmt.Errorf("--%s: it is of no use without --token-issuer: name the issuer's URL, or leave it out", flag))
			}
		}
		return errors.Join(problems...)
	}
	if !isServer(o.tokenIssuer, "https", "http") {
		problems = append(problems, refuse("token-issuer", o.tokenIssuer, "want the URL of a server, such as https://valetkey.example.com"))
	} else if u, _ := url.Parse(o.tokenIssuer); strings.HasSuffix(o.tokenIssuer, "/") || u.Host != strings.ToLower(u.Host) {
		problems = append(problems, refuse("token-issuer", o.tokenIssuer, "it stands in tokens, and whoever verifies them compares it letter by letter: write it in lower case and without a slash at its end"))
	}
	if !slices.ContainsFunc(o.signerPlaces, func(s string) bool { return o.tokenSigner != "" && strings.HasPrefix(s, o.tokenSigner+"=") }) {
		problems = append(problems, refuse("token-signer", o.tokenSigner, "want the name of a --signer, for --token-issuer"))
	}
	if o.tokenCertDir != "" {
		if _, err := tls.LoadX509KeyPair(filepath.Join(o.tokenCertDir, "tls.crt"), filepath.Join(o.tokenCertDir, "tls.key")); err != nil {
			problems = append(problems, refuse("token-cert-dir", o.tokenCertDir, "want a directory with tls.crt and tls.key that fit each other: "+err.Error()))
		}
	}
	return errors.Join(problems...)
}

func (o options) checkAddresses(given func(flag string) bool) error {
	addresses := []served{{"health-address", o.healthAddress, o.healthAddress}}
	if o.metricsAddress != "0" {
		addresses = append(addresses, served{"metrics-address", o.metricsAddress, o.metricsAddress})
	}
	if o.tokenIssuer != "" {
		addresses = append(addresses, served{"token-address", o.tokenAddress, o.tokenAddress})
	}
	if given("pprof-address") {
		addresses = append(addresses, served{"pprof-address", o.pprofAddress, onLoopback(o.pprofAddress)})
	}
	var problems []error
	for i, a := range addresses {
		if !isAddress(a.value) {
			problems = append(problems, refuse(a.flag, a.value, "want HOST:PORT or :PORT, such as :8080"))
		}
		for _, other := range addresses[:i] {
			if collide(a.bound, other.bound) {
				problems = append(problems, refuse(a.flag, a.value, fmt.Sprintf("--%s %q is there already: want another port", other.flag, other.value)))
			}
		}
	}
	return errors.Join(problems...)
}

// served is an address as a flag gives it, and as it is listened on.
type served struct{ flag, value, bound string }

func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil && (host == "" || net.ParseIP(host) != nil || len(validation.IsDNS1123Subdomain(host)) == 0)
}

// collide: one address is the other, or one is of every interface. Port 0 is any that is free.
func collide(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	every := func(host string) bool { return host == "" || net.ParseIP(host).IsUnspecified() }
	return portA == portB && portA != "0" && portA != "" && (hostA == hostB || every(hostA) || every(hostB))
}

// signerName is how a provider may name a signer.
var signerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// makeSigners repeats no place: somebody may have put the key itself there.
func makeSigners(places []string) (map[string]signer.Signer, error) {
	signers, problems := map[string]signer.Signer{}, []error{}
	for _, entry := range places {
		name, place, _ := strings.Cut(entry, "=")
		if !signerName.MatchString(name) {
			problems = append(problems, errors.New("--signer: want NAME=PLACE: the name is of lower case letters, digits and dashes"))
			continue
		}
		s, err := signer.New(place)
		if signers[name] != nil {
			err = errors.New("the name stands twice")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("--signer %q: want NAME=PLACE: %w", name, err))
			continue
		}
		signers[name] = s
	}
	return signers, errors.Join(problems...)
}
