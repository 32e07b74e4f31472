package withgin

import (
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wspush/wspush"
)

// Mounted returns an application that receives pushes on its own server, without a push listener. baseURL must lead to this
// very process, such as "https://app-3.example.com". Since the server is public, pushing requires the token as well.
func Mounted(baseURL, token string, out io.Writer) (*wspush.Worker, http.Handler, error) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		NoListen:      true,
		Advertise:     []string{baseURL},
		AuthorizePush: wspush.BearerTokens(token),
	})
	if err != nil {
		return nil, nil, err
	}
	sockets, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second})
	if err != nil {
		return nil, nil, err
	}
	router := gin.New()
	if err := router.SetTrustedProxies(nil); err != nil { // by default gin logs any X-Forwarded-For as the client
		return nil, nil, err
	}
	// Pushes are not logged: their paths are secrets. Use does not affect routes added before it.
	router.POST("/ws", gin.WrapH(worker))                 // http://ID:TOKEN@HOST/ws
	router.Any("/ws/@connections/*id", gin.WrapH(worker)) // http://HOST/ws/@connections/ID
	router.POST("/ws/@connections", gin.WrapH(worker))    // many messages in one request: gin would redirect it to the path above
	router.Use(gin.LoggerWithWriter(out), gin.Recovery()) // the rest of the application
	router.GET("/ws", gin.WrapH(sockets))
	return worker, router, nil
}
