/* How a Conv or pool moves over its input; what it reads and makes has channels last. Functions copy it: codes are bytes, which might
   lie anywhere, so that a compiler would read it again after each. */
typedef struct {
    int16_t in_height, in_width, in_channels, out_height, out_width, out_channels;
    int16_t kernel_height, kernel_width, stride_height, stride_width, top, left, dilation_height, dilation_width, groups;
} Window;
