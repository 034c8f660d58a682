// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package outboundtest has a company's network for tests: an authority that no system trusts, servers that it signed
// for, and forward proxies. [Run] tries a back end in it.
package outboundtest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"
)

// Network is the network of one company. The names of its servers are known to its proxies alone, as behind a firewall.
type Network struct {
	// Authority is the company's, in PEM.
	Authority string

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	mu          sync.Mutex
	addresses   map[string]string
}

// NewNetwork makes a network without servers.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "the company"}, SerialNumber: big.NewInt(1), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &Network{Authority: string(text), certificate: certificate, key: key, addresses: map[string]string{}}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Pool holds the company's authority alone.
func (n *Network) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(n.certificate)
	return pool
}

// Serve starts a server that the company signed for, and returns its two URLs: the one of its name leads there by a
// proxy alone, the one of its address on loopback without any.
func (n *Network) Serve(t testing.TB, host string, handler http.Handler) (byName, onLoopback string) {
	t.Helper()
	server := n.start(t, host, handler)
	n.Name(host, server.Listener.Addr().String())
	return "https://" + host, server.URL
}

// Name has proxies know an address by a host and the port of https.
func (n *Network) Name(host, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses[host+":443"] = address
}

func (n *Network) start(t testing.TB, host string, handler http.Handler) *httptest.Server {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{host}, NotAfter: n.certificate.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, n.certificate, key.Public(), n.key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// Proxy is a forward proxy.
type Proxy struct {
	// URL of the proxy, on loopback.
	URL string
	// Status is answered to everybody, with a Location; zero connects.
	Status int

	network *Network
	mu      sync.Mutex
	heard   []string
}

// Proxy starts a forward proxy. One that is encrypted is known by the company's certificate.
func (n *Network) Proxy(t testing.TB, encrypted bool) *Proxy {
	t.Helper()
	p := &Proxy{network: n}
	if encrypted {
		p.URL = n.start(t, "proxy.example.com", p).URL
		return p
	}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// Heard is everything that the proxy could read: one text for each connection.
func (p *Proxy) Heard() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.heard...)
}

// ServeHTTP connects to a server of the network.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head, _ := httputil.DumpRequest(r, r.Method != http.MethodConnect) // what cannot be read was not heard
	p.mu.Lock()
	p.heard = append(p.heard, strings.ReplaceAll(string(head), "\r\n", "\n"))
	p.mu.Unlock()
	p.network.mu.Lock()
	address, known := p.network.addresses[r.Host]
	p.network.mu.Unlock()
	if p.Status != 0 || !known || r.Method != http.MethodConnect {
		w.Header().Set("Location", "https://elsewhere.example.com")
		w.WriteHeader(cmp.Or(p.Status, http.StatusForbidden))
		return
	}
	there, err := net.Dial("tcp", address)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	go pass(here, there)
	pass(there, here)
}

// pass copies until one side closes, and then closes the other.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}
