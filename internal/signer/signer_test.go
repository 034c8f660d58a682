// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package signer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	externaljwt "k8s.io/externaljwt/apis/v1"
)

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))})
}

func verified(t *testing.T, s Signer, token string) map[string]any {
	t.Helper()
	keys := must[jose.JSONWebKeySet](t)(s.Keys(t.Context()))
	signed := must[*jose.JSONWebSignature](t)(jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}))
	found := keys.Key(signed.Signatures[0].Header.KeyID)
	if len(found) != 1 || !found[0].IsPublic() {
		t.Fatalf("%d keys of that name, want one that is public", len(found))
	}
	payload := must[[]byte](t)(signed.Verify(found[0]))
	claims := map[string]any{}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestAKeyInAFileSignsAndCanBeReplaced(t *testing.T) {
	place := filepath.Join(t.TempDir(), "key.pem")
	s := must[Signer](t)(New(place))
	seen := map[string]bool{}
	rsaKey := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	texts := map[string][]byte{
		"RSA in PKCS #1": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}),
	}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		texts[name] = pkcs8(t, must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(curve, rand.Reader)))
	}
	ec := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	texts["EC in SEC 1"] = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must[[]byte](t)(x509.MarshalECPrivateKey(ec))})
	for name, text := range texts {
		if err := os.WriteFile(place, text, 0o600); err != nil {
			t.Fatal(err)
		}
		token := must[string](t)(s.Sign(t.Context(), map[string]any{"iss": name}))
		if claims := verified(t, s, token); claims["iss"] != name {
			t.Errorf("%s: claims %v", name, claims)
		}
		seen[token[:strings.Index(token, ".")]] = true
	}
	if len(seen) != len(texts) {
		t.Errorf("%d headers of %d keys: a key that was replaced was used on", len(seen), len(texts))
	}
}

func TestAKeyThatCannotBeUsedIsNotRepeated(t *testing.T) {
	weak := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for name, test := range map[string]struct {
		text  []byte
		words string
	}{
		"nothing":          {nil, "is not in PEM"},
		"no PEM":           {[]byte("very-secret"), "is not in PEM"},
		"no key":           {[]byte("-----BEGIN PRIVATE KEY-----\ndmVyeS1zZWNyZXQ=\n-----END PRIVATE KEY-----\n"), "no private key"},
		"a short RSA key":  {pkcs8(t, weak), "fewer than 2048 bits"},
		"an Edwards curve": {pkcs8(t, edwards), "neither RSA nor ECDSA"},
		"a small curve":    {pkcs8(t, p224), "of a curve"},
		"a huge file":      {make([]byte, longestKeys+1), "cannot be read"},
	} {
		place := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(place, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		s := must[Signer](t)(New(place))
		_, first := s.Sign(t.Context(), map[string]any{})
		_, second := s.Keys(t.Context())
		for _, err := range []error{first, second} {
			if err == nil || !strings.Contains(err.Error(), test.words) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
	if _, err := must[Signer](t)(New("/absent/key.pem")).Sign(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("an absent file: %v", err)
	}
	for _, place := range []string{"", "key.pem", "unix://key.sock", "-----BEGIN PRIVATE KEY-----very-secret"} {
		if _, err := New(place); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", place, err)
		}
	}
}

// outside is a signer in another process, as kube-apiserver's interface has it.
type outside struct {
	externaljwt.UnimplementedExternalJWTSignerServer
	key    *rsa.PrivateKey
	header string
	// failure is answered in place of a signature.
	failure error
}

func (o *outside) Sign(_ context.Context, r *externaljwt.SignJWTRequest) (*externaljwt.SignJWTResponse, error) {
	if o.failure != nil {
		return nil, o.failure
	}
	if o.key == nil {
		return nil, errors.New("very-secret")
	}
	sum := sha256.Sum256([]byte(o.header + "." + r.GetClaims()))
	signature, err := rsa.SignPKCS1v15(rand.Reader, o.key, crypto.SHA256, sum[:])
	return &externaljwt.SignJWTResponse{Header: o.header, Signature: base64.RawURLEncoding.EncodeToString(signature)}, err
}

func (o *outside) FetchKeys(context.Context, *externaljwt.FetchKeysRequest) (*externaljwt.FetchKeysResponse, error) {
	if o.key == nil {
		return nil, errors.New("very-secret")
	}
	der, err := x509.MarshalPKIXPublicKey(&o.key.PublicKey)
	return &externaljwt.FetchKeysResponse{Keys: []*externaljwt.Key{{KeyId: "outside", Key: der}}}, err
}

func TestAnExternalSignerKeepsItsKey(t *testing.T) {
	dir, err := os.MkdirTemp("", "signer") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	o := &outside{key: must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048)),
		header: base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"outside","typ":"JWT"}`))}
	server := grpc.NewServer()
	externaljwt.RegisterExternalJWTSignerServer(server, o)
	listener := must[net.Listener](t)(net.Listen("unix", socket))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)

	s := must[Signer](t)(New("unix://" + socket))
	if claims := verified(t, s, must[string](t)(s.Sign(t.Context(), map[string]any{"iss": "valetkey"}))); claims["iss"] != "valetkey" {
		t.Errorf("claims %v", claims)
	}
	o.header = "a.b"
	if _, err := s.Sign(t.Context(), nil); !errors.Is(err, ErrNoSignature) || !strings.Contains(err.Error(), "no signature") {
		t.Errorf("a header that is two: %v", err)
	}
	for code, unproven := range map[codes.Code]bool{codes.PermissionDenied: false, codes.InvalidArgument: false,
		codes.ResourceExhausted: false, codes.Unknown: true, codes.Internal: true, codes.Unavailable: true,
		codes.DeadlineExceeded: true, codes.Canceled: true, codes.Aborted: true, codes.DataLoss: true} {
		o.failure = status.Error(code, "very-secret")
		if _, err := s.Sign(t.Context(), nil); err == nil || errors.Is(err, ErrUnproven) != unproven {
			t.Errorf("%s: %v", code, err)
		}
	}
	o.failure = nil
	o.header = strings.Repeat("a", 5<<20)
	if _, err := s.Sign(t.Context(), nil); !errors.Is(err, ErrUnproven) {
		t.Errorf("an answer that is too long: %v", err)
	}
	if _, err := must[Signer](t)(New("unix://"+socket+"-absent")).Sign(t.Context(), nil); err == nil || errors.Is(err, ErrUnproven) {
		t.Errorf("a signer that is not there: %v", err)
	}
	o.key = nil
	_, first := s.Sign(t.Context(), nil)
	_, second := s.Keys(t.Context())
	for _, err := range []error{first, second} {
		if err == nil || strings.Contains(err.Error(), "very-secret") {
			t.Errorf("a signer that fails: %v", err)
		}
	}
}
