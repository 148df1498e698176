// Command webserver is a workload: it answers every request with a small page, as nginx
// and httpd do in their images.
//
//	nginx -port 80 -pid-file /var/run/nginx.pid "master process"
//
// Further arguments are ignored; they are what others look for in the command line of
// a running nginx.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	port := flag.Int("port", 80, "where to listen, on all addresses")
	pidFile := flag.String("pid-file", "", "file for the process id, written when the port is open")
	flag.Parse()
	if err := serve(filepath.Base(os.Args[0]), *port, *pidFile); err != nil {
		fmt.Fprintln(os.Stderr, "webserver:", err)
		os.Exit(1)
	}
}

func serve(name string, port int, pidFile string) error {
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	if pidFile != "" {
		if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "%s listens on %v\n", name, listener.Addr())
	server := http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "<html><body>This is %s.</body></html>\n", name)
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	return server.Serve(listener)
}
