/* Names of exported functions end in the type of number and the instruction set that they were compiled for. */

#ifndef EXPORT_H
#define EXPORT_H

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define EXPORT(name) __attribute__((visibility("default"))) int JOIN(name, SUFFIX)

#endif
