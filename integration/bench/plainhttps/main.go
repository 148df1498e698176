// Command plainhttps is an HTTPS server that reads each request's body and answers the same bytes to all of them, with
// the limits, the TLS settings and the garbage collector's of inlay-webhook: the baseline for what HTTPS itself costs.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

func main() {
	listen := flag.String("listen", "", "address")
	cert := flag.String("cert", "", "certificate file")
	key := flag.String("key", "", "its key's file")
	answer := flag.String("answer", "", "file with the answer")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	debug.SetGCPercent(300) // as inlay-webhook
	if err := run(ctx, *listen, *cert, *key, *answer); err != nil {
		fmt.Fprintln(os.Stderr, "plainhttps:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address, cert, key, answer string) error {
	text, err := os.ReadFile(answer)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	server := &http.Server{
		Handler: fixed{text, strconv.Itoa(len(text))},
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
		},
		Protocols:         &protocols,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ServeTLS(netutil.LimitListener(listener, 1024), "", ""); ctx.Err() == nil {
		return err
	}
	return nil
}

// fixed is the answer, with its length in text.
type fixed struct {
	text   []byte
	length string
}

func (f fixed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", f.length)
	_, _ = w.Write(f.text) // the client may have gone
}
