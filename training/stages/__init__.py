"""What encoders are trained to do, one module a stage. The loop is `navloop.training.engine`."""
