// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Proxy returns what names one proxy, an http:// or https:// URL, for all servers of https:// but those of the list and
// those on loopback. Each entry of the list is one of [IsDestination], and means what it means in NO_PROXY.
func Proxy(proxy string, straight []string) func(server *url.URL) (*url.URL, error) {
	config := httpproxy.Config{HTTPSProxy: proxy, NoProxy: strings.Join(straight, ",")}
	return config.ProxyFunc()
}

// IsDestination reports whether a text names hosts as NO_PROXY does: a domain, which means its subdomains too; a domain
// with a dot or *. before it, which means its subdomains alone; an address; each with or without a port; or a range of
// addresses. The library passes over what is none of them.
func IsDestination(text string) bool {
	if _, _, err := net.ParseCIDR(text); err == nil {
		return true
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host = text
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return false
	}
	return net.ParseIP(host) != nil || isDomain(strings.ToLower(host))
}

// isDomain also refuses a name that ends in a number: that is part of an address, or a misspelt one.
func isDomain(host string) bool {
	domain, wild := strings.CutPrefix(host, "*.")
	if !wild {
		domain = strings.TrimPrefix(host, ".")
	}
	_, err := strconv.ParseUint(domain[strings.LastIndex(domain, ".")+1:], 10, 64)
	return err != nil && len(validation.IsDNS1123Subdomain(domain)) == 0
}

// newProxied makes the transport of everything that goes by a proxy. The server is known by the trusted authorities,
// and a proxy of https:// by the operator's: a provider's bundle is about the provider's server.
func (s Settings) newProxied(server *tls.Config) *http.Transport {
	t := newTransport(server.Clone())
	t.Proxy = func(r *http.Request) (*url.URL, error) { return s.Proxy(r.URL) }
	// Every connection begins at the proxy. So this, which is asked for the first TLS of a connection, is asked for
	// that of the proxy alone.
	toProxy := &tls.Dialer{NetDialer: newDialer(), Config: &tls.Config{RootCAs: s.Authorities, MinVersion: tls.VersionTLS12}}
	t.DialTLSContext = toProxy.DialContext
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			return proxyError(answer.StatusCode)
		}
		return nil
	}
	return t
}

// proxyError is the status by which a proxy refused to connect.
type proxyError int

func (e proxyError) Error() string {
	return fmt.Sprintf("the proxy refused to connect: status %d", int(e))
}

// Unsent says why a call sent nothing to a server, which is called by its name. It is empty when something may have
// been sent. No word of a server or of a proxy is repeated.
func Unsent(server string, err error) string {
	const nothing = "; nothing was sent"
	refusal, dialling, untrusted := proxyError(0), (*net.OpError)(nil), (*tls.CertificateVerificationError)(nil)
	byCertificate := errors.As(err, &untrusted)
	switch {
	case errors.As(err, &refusal):
		return fmt.Sprintf("the proxy of --https-proxy refused to connect to %s, by status %d"+nothing, server, int(refusal))
	case errors.As(err, &dialling) && dialling.Op == "proxyconnect" && byCertificate:
		return "the certificate of the proxy of --https-proxy is not one that the operator trusts (--ca-file)" + nothing
	case errors.As(err, &dialling) && dialling.Op == "proxyconnect":
		return "the proxy of --https-proxy cannot be reached" + nothing
	case byCertificate:
		return "the certificate of " + server + " is not one that the operator trusts (caBundle, --ca-file)" + nothing
	default:
		return ""
	}
}
