// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package signer signs tokens with keys that are no business of the API server: in a volume that is mounted into the operator, or behind
// the external signer that kube-apiserver has an interface for (k8s.io/externaljwt), which keeps its key to itself.
package signer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	externaljwt "k8s.io/externaljwt/apis/v1"
)

// ErrBusy is that of an external signer which asks to be left alone for now.
var ErrBusy = errors.New("the signer is busy")

// ErrUnproven is that of an external signer which was asked, and of which nobody knows whether it has signed.
var ErrUnproven = errors.New("it is not known whether the signer has signed")

// ErrNoSignature is that of an external signer which answered with something that is no signature.
var ErrNoSignature = errors.New("the signer answered with no signature")

// Signer signs claims with one key. Its errors name no key material.
type Signer interface {
	// Sign returns the claims as a JWT. If it fails, nothing was signed, unless the error is ErrUnproven or ErrNoSignature.
	Sign(ctx context.Context, claims any) (string, error)
	// Keys are the public keys by which its JWTs are verified.
	Keys(ctx context.Context) (jose.JSONWebKeySet, error)
}

const (
	socketPrefix = "unix://"
	// answerTime bounds one call of an external signer.
	answerTime = 5 * time.Second
	// weakestRSA is the shortest RSA key that is used, in bits.
	weakestRSA = 2048
	// longestKeys bounds what is read of a file, or of an answer of an external signer.
	longestKeys = 64 << 10
)

// New makes a signer of a place: the path of a private key in PEM (RSA of 2048 bits at least, or ECDSA), which is read anew for each
// token so that it can be replaced, or unix:///path/to/socket of an external signer.
func New(place string) (Signer, error) {
	if socket, found := strings.CutPrefix(place, socketPrefix); found {
		if !filepath.IsAbs(socket) {
			return nil, errors.New("want unix:///path/to/socket")
		}
		return newExternal(place)
	}
	if !filepath.IsAbs(place) {
		// It is not repeated: somebody may have put the key itself there.
		return nil, errors.New("want the absolute path of a private key, or unix:///path/to/socket")
	}
	return file(place), nil
}

// file is the path of a private key.
type file string

func (f file) Sign(_ context.Context, claims any) (string, error) {
	key, err := f.load()
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", errors.New("the claims cannot be written")
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", f.problem("is of a kind that signs no JWT")
	}
	signed, err := s.Sign(payload)
	if err != nil {
		return "", f.problem("does not sign")
	}
	return signed.CompactSerialize()
}

func (f file) Keys(context.Context) (jose.JSONWebKeySet, error) {
	key, err := f.load()
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}}, nil
}

func (f file) problem(what string) error { return fmt.Errorf("the signing key %s %s", string(f), what) }

// load reads the key, and names it by its thumbprint (RFC 7638).
func (f file) load() (jose.JSONWebKey, error) {
	info, err := os.Stat(string(f))
	if err != nil || info.Size() > longestKeys {
		return jose.JSONWebKey{}, f.problem("cannot be read")
	}
	text, err := os.ReadFile(string(f))
	if err != nil {
		return jose.JSONWebKey{}, f.problem("cannot be read")
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return jose.JSONWebKey{}, f.problem("is not in PEM")
	}
	private, err := parse(block)
	if err != nil {
		return jose.JSONWebKey{}, f.problem("is no private key that can be read")
	}
	key := jose.JSONWebKey{Key: private, Use: "sig"}
	switch k := private.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < weakestRSA {
			return jose.JSONWebKey{}, f.problem(fmt.Sprintf("is of fewer than %d bits", weakestRSA))
		}
		key.Algorithm = string(jose.RS256)
	case *ecdsa.PrivateKey:
		algorithm, found := map[int]jose.SignatureAlgorithm{256: jose.ES256, 384: jose.ES384, 521: jose.ES512}[k.Curve.Params().BitSize]
		if !found {
			return jose.JSONWebKey{}, f.problem("is of a curve that signs no JWT")
		}
		key.Algorithm = string(algorithm)
	default:
		return jose.JSONWebKey{}, f.problem("is neither RSA nor ECDSA")
	}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return jose.JSONWebKey{}, f.problem("has no thumbprint")
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return key, nil
}

// parse reads the forms that openssl, GitHub and cert-manager write.
func parse(block *pem.Block) (any, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	default:
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	}
}

// external is a signer behind a socket.
type external struct {
	place  string
	client externaljwt.ExternalJWTSignerClient
}

func newExternal(place string) (Signer, error) {
	connection, err := grpc.NewClient(place, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(longestKeys)))
	if err != nil {
		return nil, errors.New("want unix:///path/to/socket")
	}
	return &external{place: place, client: externaljwt.NewExternalJWTSignerClient(connection)}, nil
}

// refusing are the codes by which a signer refuses before it signs. After the others it may have.
var refusing = []codes.Code{codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated,
	codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented}

func (e *external) problem(what string) error {
	return fmt.Errorf("the signer at %s %s", e.place, what)
}

func (e *external) Sign(ctx context.Context, claims any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", errors.New("the claims cannot be written")
	}
	wrapped := base64.RawURLEncoding.EncodeToString(payload)
	var asked peer.Peer
	var end metadata.MD
	answer, err := e.client.Sign(ctx, &externaljwt.SignJWTRequest{Claims: wrapped}, grpc.Peer(&asked), grpc.Trailer(&end))
	// The client itself makes codes of what it cannot read, as of an answer that is too long. A signer's own refusal is all
	// that it answers: then the end says what it is. Source: Trailers-Only in
	// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
	refuses := len(end.Get("content-type")) > 0
	switch code := status.Code(err); {
	case code == codes.ResourceExhausted && refuses:
		return "", fmt.Errorf("%w at %s", ErrBusy, e.place)
	case err != nil && (asked.Addr == nil || refuses && slices.Contains(refusing, code)):
		return "", e.problem("did not sign")
	case err != nil:
		return "", fmt.Errorf("%w: the one at %s failed", ErrUnproven, e.place)
	case answer.GetHeader() == "" || answer.GetSignature() == "" ||
		strings.Contains(answer.GetHeader()+answer.GetSignature(), "."):
		return "", fmt.Errorf("%w: the one at %s", ErrNoSignature, e.place)
	}
	return answer.GetHeader() + "." + wrapped + "." + answer.GetSignature(), nil
}

func (e *external) Keys(ctx context.Context) (jose.JSONWebKeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer, err := e.client.FetchKeys(ctx, &externaljwt.FetchKeysRequest{})
	if err != nil {
		return jose.JSONWebKeySet{}, e.problem("does not say its keys")
	}
	set := jose.JSONWebKeySet{}
	for _, k := range answer.GetKeys() {
		public, err := x509.ParsePKIXPublicKey(k.GetKey())
		if err != nil {
			return jose.JSONWebKeySet{}, e.problem("names a key that cannot be read")
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: public, KeyID: k.GetKeyId(), Use: "sig"})
	}
	return set, nil
}
